// dladmm/dual_step: u = u + rho r, r = z - P - b (Wang et al. 2019, equation 9), and the last layer's terms of the
// augmented Lagrangian at the new u, as partial sums over samples.
//
//   partials[offset + g] = sum over the samples of workgroup g of ( R(z; y), <u, r>, |r|^2, 0 )
//   Where is_step = 0, u stays and only the terms are taken.
//
// P, z, u: samples x classes, `quads` vec4s a sample; b: classes; y: the targets, as the loss R takes them.
// One lane owns one sample. Oracle: reference::dladmm::dual_step.
#import "shared/index.wgsl"
#import "shared/reduce_tree.wgsl"
#import "dladmm/control.wgsl"
#import "dladmm/loss_cross_entropy.wgsl"

const WG_SIZE: u32 = 64u; // @spec

struct Params {
    quads: u32,
    samples: u32,
    classes: u32,
    offset: u32,
    is_step: u32,
}

@group(0) @binding(0) var<storage, read> product: array<vec4f>;
@group(0) @binding(1) var<storage, read> bias: array<vec4f>;
@group(0) @binding(2) var<storage, read> z: array<vec4f>;
@group(0) @binding(3) var<storage, read> targets: array<Target>;
@group(0) @binding(4) var<storage, read> control: Control;
@group(0) @binding(5) var<storage, read_write> dual: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> partials: array<vec4f>;
@group(0) @binding(7) var<uniform> params: Params;

fn terms(sample: u32) -> vec4f {
    let first = sample * params.quads;
    let length = select(0.0, control.rho, params.is_step != 0u);
    var sums = vec4f();
    for (var quad = 0u; quad < params.quads; quad++) {
        let r = z[first + quad] - product[first + quad] - bias[quad];
        let u = fma(vec4f(length), r, dual[first + quad]);
        dual[first + quad] = u;
        sums += vec4f(0.0, dot(u, r), dot(r, r), 0.0);
    }
    sums.x = loss(sample);
    return sums;
}

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let chunk = linear_group(group, groups);
    let sample = chunk * WG_SIZE + lane;
    var value = vec4f();
    if sample < params.samples {
        value = terms(sample);
    }
    let total = workgroup_sum(value, lane);
    if lane == 0u && chunk * WG_SIZE < params.samples {
        partials[params.offset + chunk] = total;
    }
}
