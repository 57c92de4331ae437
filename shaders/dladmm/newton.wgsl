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
// A lane owns one sample, or a workgroup where classes are many; see dladmm/classes. Oracle: reference::dladmm::newton.
#import "shared/index.wgsl"
#import "dladmm/control.wgsl"
#import "dladmm/classes.wgsl"
#import "dladmm/write_z.wgsl"

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
    let sample = sample_of(linear_group(group, groups), lane);
    if sample >= params.samples {
        return;
    }
    let label = labels[sample];
    let centre = scaled_centre(sample, lane);
    var point = read_z(sample, lane);
    for (var round = 0u; round < STEPS; round++) {
        let step = newton_step(point, centre, label, lane);
        var high = vec4f(-3.4e38);
        var low = vec4f(3.4e38);
        var size = vec4f(1.0);
        for (var k = 0u; k < CLASS_QUADS; k++) {
            let mask = is_class(quad_of(k, lane));
            high = max(high, select(vec4f(-3.4e38), step[k], mask));
            low = min(low, select(vec4f(3.4e38), step[k], mask));
            size = max(size, abs(point[k]));
        }
        let rise = largest(greatest(high, lane));
        let fall = largest(greatest(-low, lane));
        let range = rise + fall;
        let damping = select(1.0, log(1.0 + range) / range, range > 1e-3);
        for (var k = 0u; k < CLASS_QUADS; k++) {
            point[k] = fma(vec4f(-damping), step[k], point[k]);
        }
        let is_there = damping * max(rise, fall) < 1e-5 * largest(greatest(size, lane));
        if agreed(is_there, lane) {
            break;
        }
    }
    write_z(sample, lane, point);
}

fn newton_step(point: Classes, centre: Classes, label: u32, lane: u32) -> Classes {
    var z_now = point;
    var near = centre;
    var p = softmax(point, lane);
    let scale = vec4f(p.scale);
    var step: Classes;
    var weight = vec4f();
    var along = vec4f();
    for (var k = 0u; k < CLASS_QUADS; k++) {
        let pull = fma(vec4f(control.rho), z_now[k], -near[k]);
        let gradient = fma(p.powers[k], scale, -one_hot(label, quad_of(k, lane))) + pull;
        let e = 1.0 / fma(p.powers[k], scale, vec4f(control.rho));
        let share = p.powers[k] * scale;
        step[k] = e * gradient;
        p.powers[k] = share * e;
        weight = fma(share, e, weight);
        along = fma(p.powers[k], gradient, along);
    }
    let ratio = dot(total(along, lane), vec4f(1.0)) / (control.rho * dot(total(weight, lane), vec4f(1.0)));
    for (var k = 0u; k < CLASS_QUADS; k++) {
        step[k] = fma(p.powers[k], vec4f(ratio), step[k]);
    }
    return step;
}
