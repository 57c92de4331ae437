// dladmm/merit: the augmented Lagrangian by itself, for an accelerator to judge a candidate by.
//
//   merits[slot] = L_rho(W, b, z, a, u)
//
// totals, ridge: as in dladmm/augmented. One lane does it all. Oracle: reference::dladmm::merit.
#import "dladmm/control.wgsl"
#import "dladmm/augmented.wgsl"

struct Params {
    layers: u32,
    slot: u32,
}

@group(0) @binding(0) var<storage, read> totals: array<vec4f>;
@group(0) @binding(1) var<storage, read> ridge: array<vec4f>;
@group(0) @binding(2) var<storage, read> control: Control;
@group(0) @binding(3) var<storage, read_write> merits: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(1)
fn main() {
    merits[params.slot] = augmented_lagrangian(params.layers);
}
