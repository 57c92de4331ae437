// line_search/product_step: P moves along with a W step whose rows went their own ways.
//
//   P = P - M diag(s)          column i of P belongs to row i of W
//
// M = a G^T, P: samples x features, `quads` vec4s a sample; s: features. One lane owns one vec4 of features in
// SAMPLES_PER_LANE samples: its lengths are read, and its place found, once.
// Oracle: reference::line_search::product_step.
#import "shared/index.wgsl"

const WG_SIZE: u32 = 256u; // @spec
const SAMPLES_PER_LANE: u32 = 4u; // @spec

struct Params {
    quads: u32,
    samples: u32,
}

@group(0) @binding(0) var<storage, read> moved: array<vec4f>;
@group(0) @binding(1) var<storage, read> lengths: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> product: array<vec4f>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let item = linear_group(group, groups) * WG_SIZE + lane;
    let quad = item % params.quads;
    let first = item / params.quads * SAMPLES_PER_LANE;
    let end = min(first + SAMPLES_PER_LANE, params.samples);
    let s = lengths[quad];
    for (var sample = first; sample < end; sample++) {
        let i = sample * params.quads + quad;
        product[i] = fma(-s, moved[i], product[i]);
    }
}
