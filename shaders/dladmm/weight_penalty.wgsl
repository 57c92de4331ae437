// dladmm/weight_penalty: adds the gradient of (lambda/2) |W|^2 to a gradient that is kept without its factor kappa
// (Wang et al. 2019, Problem 1, the term Omega).
//
//   g = g + (lambda / kappa) W
//
// W, g: `quads` vec4s in all. kappa is rho for the last layer, else nu. One lane owns one vec4.
// Oracle: reference::dladmm::weight_penalty.
#import "shared/index.wgsl"
#import "dladmm/control.wgsl"

const WG_SIZE: u32 = 256u; // @spec

struct Params {
    quads: u32,
    last_layer: u32,
    lambda: f32,
}

@group(0) @binding(0) var<storage, read> weights: array<vec4f>;
@group(0) @binding(1) var<storage, read> control: Control;
@group(0) @binding(2) var<storage, read_write> gradient: array<vec4f>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_group(group, groups) * WG_SIZE + lane;
    let kappa = select(control.nu, control.rho, params.last_layer != 0u);
    if i >= params.quads {
        return;
    }
    gradient[i] = fma(vec4f(params.lambda / kappa), weights[i], gradient[i]);
}
