// dladmm/residual_sums: sums over samples of r = P + b - t, one partial sum per CHUNK samples; for the bias step.
//
//   partials[(offset + g) * quads + q] = sum over the samples s of chunk g of P[s, q] + b[q] - t[s, q]
//
// P, t: samples x features, `quads` vec4s a sample; b: features. A lane owns ACROSS vec4s of features, WG_SIZE apart, over
// one chunk of samples, so that neighbouring lanes read neighbouring vec4s and nothing is shared.
// Oracle: reference::dladmm::residual_sums.
#import "shared/index.wgsl"

const WG_SIZE: u32 = 64u; // @spec
const CHUNK: u32 = 64u; // @spec
// More than one where a lane's loads are few and far between: so many at a time that memory is read ahead.
const ACROSS: u32 = 1u; // @spec

struct Params {
    quads: u32,
    samples: u32,
    chunks: u32,
    offset: u32,
}

@group(0) @binding(0) var<storage, read> product: array<vec4f>;
@group(0) @binding(1) var<storage, read> bias: array<vec4f>;
@group(0) @binding(2) var<storage, read> goal: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> partials: array<vec4f>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let across = (params.quads + ACROSS * WG_SIZE - 1u) / (ACROSS * WG_SIZE);
    let item = linear_group(group, groups);
    let chunk = item / across;
    if chunk >= params.chunks {
        return;
    }
    let first = (item % across) * ACROSS * WG_SIZE + lane;
    let quads = params.quads;
    let end = min((chunk + 1u) * CHUNK, params.samples);
    var column: array<u32, ACROSS>;
    var b: array<vec4f, ACROSS>;
    var sums: array<vec4f, ACROSS>;
    for (var k = 0u; k < ACROSS; k++) {
        column[k] = min(first + k * WG_SIZE, quads - 1u);
        b[k] = bias[column[k]];
    }
    for (var sample = chunk * CHUNK; sample < end; sample++) {
        for (var k = 0u; k < ACROSS; k++) {
            let i = sample * quads + column[k];
            sums[k] += product[i] + b[k] - goal[i];
        }
    }
    for (var k = 0u; k < ACROSS; k++) {
        if first + k * WG_SIZE < quads {
            partials[(params.offset + chunk) * quads + column[k]] = sums[k];
        }
    }
}
