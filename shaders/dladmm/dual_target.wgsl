// dladmm/dual_target: t = z + u / rho, what W a + b of the last layer is drawn to (Wang et al. 2019, equation 2, the
// terms in u and rho completed to one square).
//
// z, u, t: samples x classes, `quads` vec4s in all. One lane owns one vec4. Oracle: reference::dladmm::dual_target.
#import "shared/index.wgsl"
#import "dladmm/control.wgsl"

const WG_SIZE: u32 = 256u; // @spec

struct Params {
    quads: u32,
}

@group(0) @binding(0) var<storage, read> z: array<vec4f>;
@group(0) @binding(1) var<storage, read> dual: array<vec4f>;
@group(0) @binding(2) var<storage, read> control: Control;
@group(0) @binding(3) var<storage, read_write> goal: array<vec4f>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_group(group, groups) * WG_SIZE + lane;
    let rho = control.rho;
    if i < params.quads {
        goal[i] = z[i] + dual[i] / rho;
    }
}
