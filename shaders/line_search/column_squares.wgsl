// line_search/column_squares: sums over samples of squares, feature by feature, one partial sum per CHUNK samples; the
// curvature of every row of a W step at once.
//
//   partials[(offset + g) * quads + q] = sum over the samples s of chunk g of M[s, q]^2
//
// M: samples x features, `quads` vec4s a sample. One lane owns one vec4 of features over one chunk of samples, so that
// neighbouring lanes read neighbouring vec4s and nothing is shared. Oracle: reference::line_search::column_squares.
#import "shared/index.wgsl"

const WG_SIZE: u32 = 64u; // @spec
const CHUNK: u32 = 64u; // @spec

struct Params {
    quads: u32,
    samples: u32,
    chunks: u32,
    offset: u32,
}

@group(0) @binding(0) var<storage, read> moved: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> partials: array<vec4f>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let item = linear_group(group, groups) * WG_SIZE + lane;
    if item >= params.quads * params.chunks {
        return;
    }
    let quad = item % params.quads;
    let chunk = item / params.quads;
    let end = min((chunk + 1u) * CHUNK, params.samples);
    var sum = vec4f();
    for (var sample = chunk * CHUNK; sample < end; sample++) {
        let m = moved[sample * params.quads + quad];
        sum = fma(m, m, sum);
    }
    partials[(params.offset + chunk) * params.quads + quad] = sum;
}
