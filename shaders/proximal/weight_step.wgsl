// proximal/weight_step: the W step that a search ended at, under the penalty lambda |W|_1.
//
//   D = soft(W - (kappa / alpha) G, lambda / alpha) - W          W = W + D          1 / alpha = steps[slot].x
//
// W, G, D: `quads` vec4s in all; G without its factor kappa, which is rho for the last layer, else nu. One lane owns one
// vec4. Oracle: reference::proximal::weight_step.
#import "shared/index.wgsl"
#import "dladmm/control.wgsl"
#import "proximal/change.wgsl"

const WG_SIZE: u32 = 256u; // @spec

struct Params {
    quads: u32,
    slot: u32,
    last_layer: u32,
    lambda: f32,
}

@group(0) @binding(0) var<storage, read> gradient: array<vec4f>;
@group(0) @binding(1) var<storage, read> control: Control;
@group(0) @binding(2) var<storage, read> steps: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> weights: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> moved: array<vec4f>;
@group(0) @binding(5) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_group(group, groups) * WG_SIZE + lane;
    let kappa = select(control.nu, control.rho, params.last_layer != 0u);
    let length = steps[params.slot].x;
    if i >= params.quads {
        return;
    }
    let w = weights[i];
    let d = change(w, gradient[i], kappa * length, params.lambda * length);
    weights[i] = w + d;
    moved[i] = d;
}
