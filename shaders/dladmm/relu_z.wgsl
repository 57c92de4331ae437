// dladmm/relu_z: hidden z-step for ReLU, closed form (Wang et al. 2019, equations 4 and 14).
//
//   c  = P + b                                   P = W a_prev
//   z- = min(c, 0)        z+ = max((c + a) / 2, 0)
//   z  = z+ where (z- - c)^2 + a^2 > (z+ - c)^2 + (a - z+)^2, else z-      ties keep z-
//
// Layout: samples one after another, `quads` vec4s of features each (padded with zeros).
// One lane owns one vec4 of features in SAMPLES_PER_LANE samples: its bias is read, and its place found, once.
// Oracle: reference::dladmm::relu_z.
#import "shared/index.wgsl"

const WG_SIZE: u32 = 256u; // @spec
const SAMPLES_PER_LANE: u32 = 8u; // @spec

struct Params {
    quads: u32,
    samples: u32,
}

@group(0) @binding(0) var<storage, read> product: array<vec4f>;
@group(0) @binding(1) var<storage, read> bias: array<vec4f>;
@group(0) @binding(2) var<storage, read> activation: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> z: array<vec4f>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let item = linear_group(group, groups) * WG_SIZE + lane;
    let quad = item % params.quads;
    let first = item / params.quads * SAMPLES_PER_LANE;
    let end = min(first + SAMPLES_PER_LANE, params.samples);
    let b = bias[quad];
    for (var sample = first; sample < end; sample++) {
        let i = sample * params.quads + quad;
        let c = product[i] + b;
        let a = activation[i];
        let below = min(c, vec4f());
        let above = max(0.5 * (c + a), vec4f());
        let cost_below = (below - c) * (below - c) + a * a;
        let cost_above = (above - c) * (above - c) + (a - above) * (a - above);
        z[i] = select(below, above, cost_below > cost_above);
    }
}
