// reduce/dot: partial sums of <x, y>, one per chunk of CHUNK vec4s; <x, x> is the squared norm.
//
//   partials[offset + g] = sum over chunk g of dot(x[i], y[i])
//
// x, y: the same shape, `quads` vec4s in all, padding zero. A workgroup owns one chunk; lanes stride through it, then
// a fixed tree adds them, so the order depends on the data's length alone. Oracle: reference::reduce::dot.
#import "shared/index.wgsl"
#import "shared/reduce_tree.wgsl"

const WG_SIZE: u32 = 256u; // @spec
const CHUNK: u32 = 1024u; // @spec

struct Params {
    quads: u32,
    offset: u32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> y: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> partials: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let chunk = linear_group(group, groups);
    let end = min((chunk + 1u) * CHUNK, params.quads);
    var sum = vec4f();
    for (var i = chunk * CHUNK + lane; i < end; i += WG_SIZE) {
        sum = fma(x[i], y[i], sum);
    }
    let total = workgroup_sum(sum, lane);
    if lane == 0u && chunk * CHUNK < params.quads {
        partials[params.offset + chunk] = (total.x + total.y) + (total.z + total.w);
    }
}
