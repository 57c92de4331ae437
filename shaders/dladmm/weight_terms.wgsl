// dladmm/weight_terms: what ridge and penalties make of a layer's weights, as partial sums per chunk of CHUNK vec4s.
//
//   partials[offset + g] = ( sum of W^2, sum of |W|, 0, 0 ) over chunk g
//
// W: `quads` vec4s in all, padding zero. A workgroup owns one chunk; lanes stride through it, then a fixed tree adds
// them. Oracle: reference::dladmm::weight_terms.
#import "shared/index.wgsl"
#import "shared/reduce_tree.wgsl"

const WG_SIZE: u32 = 256u; // @spec
const CHUNK: u32 = 1024u; // @spec

struct Params {
    quads: u32,
    offset: u32,
}

@group(0) @binding(0) var<storage, read> weights: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> partials: array<vec4f>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let chunk = linear_group(group, groups);
    let end = min((chunk + 1u) * CHUNK, params.quads);
    var sums = vec4f();
    for (var i = chunk * CHUNK + lane; i < end; i += WG_SIZE) {
        let w = weights[i];
        sums += vec4f(dot(w, w), dot(abs(w), vec4f(1.0)), 0.0, 0.0);
    }
    let total = workgroup_sum(sums, lane);
    if lane == 0u && chunk * CHUNK < params.quads {
        partials[params.offset + chunk] = total;
    }
}
