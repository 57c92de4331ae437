// dladmm/newton: z-step of the last layer, softmax cross-entropy, solved exactly by damped Newton steps.
//
//   0 = p - y + rho (z - c),    p = softmax(z),    c = P + b - u/rho,    per sample
//   the Hessian diag(p + rho) - p p^T is inverted by Sherman-Morrison:
//       g = p - y + rho (z - c)     e = 1 / (p + rho)     w = p e     den = rho sum(w)
//       s = e g + w <w, g> / den    b = max(s) - min(s)              z = z - s ln(1 + b) / b
//   den equals 1 - <p, e p> without its cancellation. Along s the curvature changes by at most exp(b), so that every
//   step descends. Stops when the step is below 1e-5 max(1, max|z|), after STEPS at the latest.
//
// P, u, z: samples x classes, `quads` vec4s a sample; b: classes; labels: one u32 per sample.
// One lane owns one sample, its classes in registers. Oracle: reference::dladmm::newton.
#import "shared/index.wgsl"
#import "dladmm/control.wgsl"
#import "dladmm/classes.wgsl"

const WG_SIZE: u32 = 64u; // @spec
const STEPS: u32 = 12u; // @spec

struct Params {
    quads: u32,
    samples: u32,
    classes: u32,
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
    let sample = linear_group(group, groups) * WG_SIZE + lane;
    if sample >= params.samples {
        return;
    }
    let label = labels[sample];
    let centre = scaled_centre(sample);
    var point: Classes;
    for (var quad = 0u; quad < CLASS_QUADS; quad++) {
        point[quad] = z[sample * params.quads + quad];
    }
    for (var k = 0u; k < STEPS; k++) {
        let step = newton_step(point, centre, label);
        var high = vec4f(-3.4e38);
        var low = vec4f(3.4e38);
        var size = vec4f(1.0);
        for (var quad = 0u; quad < CLASS_QUADS; quad++) {
            high = max(high, select(vec4f(-3.4e38), step[quad], is_class(quad)));
            low = min(low, select(vec4f(3.4e38), step[quad], is_class(quad)));
            size = max(size, abs(point[quad]));
        }
        let range = largest(high) + largest(-low);
        let damping = select(1.0, log(1.0 + range) / range, range > 1e-3);
        for (var quad = 0u; quad < CLASS_QUADS; quad++) {
            point[quad] -= damping * step[quad];
        }
        if damping * max(largest(high), largest(-low)) < 1e-5 * largest(size) {
            break;
        }
    }
    for (var quad = 0u; quad < CLASS_QUADS; quad++) {
        z[sample * params.quads + quad] = point[quad];
    }
}

fn newton_step(point: Classes, centre: Classes, label: u32) -> Classes {
    var z_now = point;
    var near = centre;
    var p = softmax(point);
    var step: Classes;
    var weight = vec4f();
    var along = vec4f();
    for (var quad = 0u; quad < CLASS_QUADS; quad++) {
        let gradient = p[quad] - one_hot(label, quad) + (control.rho * z_now[quad] - near[quad]);
        let e = 1.0 / (p[quad] + control.rho);
        step[quad] = e * gradient;
        p[quad] *= e;
        weight += p[quad];
        along += p[quad] * gradient;
    }
    let ratio = dot(along, vec4f(1.0)) / (control.rho * dot(weight, vec4f(1.0)));
    for (var quad = 0u; quad < CLASS_QUADS; quad++) {
        step[quad] = fma(p[quad], vec4f(ratio), step[quad]);
    }
    return step;
}
