// dladmm/fista: z-step of the last layer, softmax cross-entropy, a fixed number of accelerated proximal-gradient
// iterations (Wang et al. 2019, section 4.2: FISTA for subproblem 5).
//
//   minimise  -log softmax(z)_label + (rho/2) |z - c|^2,    c = P + b - u/rho,    per sample
//   lambda = 1, zeta = z; repeat:  lambda' = (1 + sqrt(1 + 4 lambda^2)) / 2,   gamma = (1 - lambda) / lambda'
//       zeta' = (rho c + (z - eta (softmax(z) - y)) / eta) / (rho + 1/eta)
//       z = (1 - gamma) zeta' + gamma zeta
//
// P, u, z: samples x classes, `quads` vec4s a sample; b: classes; labels: one u32 per sample.
// A lane owns one sample, or a workgroup where classes are many; see dladmm/classes. Oracle: reference::dladmm::fista.
#import "shared/index.wgsl"
#import "dladmm/control.wgsl"
#import "dladmm/classes.wgsl"

const WG_SIZE: u32 = 64u; // @spec

struct Params {
    quads: u32,
    samples: u32,
    classes: u32,
    iterations: u32,
    eta: f32,
}

@group(0) @binding(0) var<storage, read> product: array<vec4f>;
@group(0) @binding(1) var<storage, read> bias: array<vec4f>;
@group(0) @binding(2) var<storage, read> dual: array<vec4f>;
@group(0) @binding(3) var<storage, read> labels: array<u32>;
@group(0) @binding(4) var<storage, read> control: Control;
@group(0) @binding(5) var<storage, read_write> z: array<vec4f>;
@group(0) @binding(6) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let sample = sample_of(linear_group(group, groups), lane);
    if sample >= params.samples {
        return;
    }
    let label = labels[sample];
    var centre = scaled_centre(sample, lane);
    var point = read_z(sample, lane);
    var previous = point;
    var lambda = 1.0;
    let scale = 1.0 / (control.rho + 1.0 / params.eta);
    for (var iteration = 0u; iteration < params.iterations; iteration++) {
        let next_lambda = 0.5 * (1.0 + sqrt(1.0 + 4.0 * lambda * lambda));
        let gamma = (1.0 - lambda) / next_lambda;
        var p = softmax(point, lane);
        let share = vec4f(p.scale);
        for (var k = 0u; k < CLASS_QUADS; k++) {
            let gradient = fma(p.powers[k], share, -one_hot(label, quad_of(k, lane)));
            let next = (centre[k] + (point[k] / params.eta - gradient)) * scale;
            point[k] = (1.0 - gamma) * next + gamma * previous[k];
            previous[k] = next;
        }
        lambda = next_lambda;
    }
    write_z(sample, lane, point);
}
