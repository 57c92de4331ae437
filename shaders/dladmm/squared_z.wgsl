// dladmm/squared_z: z-step of the last layer under squared loss, in closed form (Wang et al. 2019, equation 5).
//
//   z = argmin |z - y|^2 / 2 + (rho/2) |z - c|^2 = (y + rho c) / (1 + rho)        c = P + b - u / rho
//
// P, u, y, z: samples x outputs, `quads` vec4s a sample; b: outputs. One lane owns one vec4 of outputs in
// SAMPLES_PER_LANE samples: its bias is read, and its place found, once.
// Oracle: reference::dladmm::squared_z.
#import "shared/index.wgsl"
#import "dladmm/control.wgsl"

const WG_SIZE: u32 = 256u; // @spec
const SAMPLES_PER_LANE: u32 = 4u; // @spec

struct Params {
    quads: u32,
    samples: u32,
}

@group(0) @binding(0) var<storage, read> product: array<vec4f>;
@group(0) @binding(1) var<storage, read> bias: array<vec4f>;
@group(0) @binding(2) var<storage, read> dual: array<vec4f>;
@group(0) @binding(3) var<storage, read> targets: array<vec4f>;
@group(0) @binding(4) var<storage, read> control: Control;
@group(0) @binding(5) var<storage, read_write> z: array<vec4f>;
@group(0) @binding(6) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let item = linear_group(group, groups) * WG_SIZE + lane;
    let quad = item % params.quads;
    let first = item / params.quads * SAMPLES_PER_LANE;
    let end = min(first + SAMPLES_PER_LANE, params.samples);
    let b = bias[quad];
    let rho = vec4f(control.rho);
    let scale = 1.0 / (1.0 + control.rho);
    for (var sample = first; sample < end; sample++) {
        let i = sample * params.quads + quad;
        // Times rho, because u / rho is huge where rho is small and would drown the rest.
        z[i] = (targets[i] + fma(rho, product[i] + b, -dual[i])) * scale;
    }
}
