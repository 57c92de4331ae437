// dladmm/dual_of_z: u = -dR/dz, the dual that belongs to a last z: what u + rho r is after every exact step of it. So a
// candidate that mixes several z stays dual feasible (ALGORITHMS: AA-dlADMM).
//
//   cross-entropy: u = y - softmax(z)        squared loss: u = y - z
//
// z, u: samples x classes, `quads` vec4s a sample; y: the targets, as the loss R takes them. One lane owns one sample.
// Oracle: reference::dladmm::dual_of_z.
#import "shared/index.wgsl"
#import "dladmm/loss_cross_entropy.wgsl"

const WG_SIZE: u32 = 64u; // @spec

struct Params {
    quads: u32,
    samples: u32,
    classes: u32,
}

@group(0) @binding(0) var<storage, read> z: array<vec4f>;
@group(0) @binding(1) var<storage, read> targets: array<Target>;
@group(0) @binding(2) var<storage, read_write> dual: array<vec4f>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let sample = linear_group(group, groups) * WG_SIZE + lane;
    if sample >= params.samples {
        return;
    }
    let scale = normaliser(sample);
    for (var quad = 0u; quad < params.quads; quad++) {
        dual[sample * params.quads + quad] = descent(sample, quad, scale);
    }
}
