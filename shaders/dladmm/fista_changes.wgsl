// dladmm/fista_changes: by how much each step of dladmm/fista would move the objective, for its stop test.
//
//   f(z) = sum over samples of  -log softmax(z)_label + (rho/2) |z - c|^2,    c = P + b - u/rho
//   changes[first_row + workgroup, step - known] = f(z_step+1) - f(z_step) over the workgroup's samples,
//                                                  for the steps `known` .. `limit`, both of them multiples of four
//
// A step's change is summed class by class, since objectives of many samples differ by less than they are rounded by:
//
//   log softmax:  log(sum p exp(d)) - d_label = log1p(sum p expm1(d)) - d_label,    d = z' - z,  p = softmax(z)
//   quadratic:    <d, rho (z + z') / 2 - rho c>
//
// Nothing is done where the steps up to `known` hold the stop already. P, u, z: samples x classes, `quads` vec4s a
// sample; b: classes; labels: one u32 per sample; changes: rows of (limit - known) / 4 vec4s.
// A lane owns one sample, or a workgroup where classes are many; see dladmm/classes.
// Oracle: reference::dladmm::fista_changes.
#import "shared/index.wgsl"
#import "shared/reduce_tree.wgsl"
#import "dladmm/control.wgsl"
#import "dladmm/fista_step.wgsl"

const WG_SIZE: u32 = 64u; // @spec

struct Params {
    quads: u32,
    samples: u32,
    classes: u32,
    known: u32,
    limit: u32,
    first_row: u32,
    eta: f32,
}

@group(0) @binding(0) var<storage, read> product: array<vec4f>;
@group(0) @binding(1) var<storage, read> bias: array<vec4f>;
@group(0) @binding(2) var<storage, read> dual: array<vec4f>;
@group(0) @binding(3) var<storage, read> labels: array<u32>;
@group(0) @binding(4) var<storage, read> control: Control;
@group(0) @binding(5) var<storage, read> z: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> changes: array<vec4f>;
@group(0) @binding(7) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let row = linear_group(group, groups);
    // The same answer for every lane, as sums over lanes need. A grid may have workgroups to spare.
    if control.fista_steps <= f32(params.known) || sample_of(row, 0u) >= params.samples {
        return;
    }
    let own = sample_of(row, lane);
    let sample = min(own, params.samples - 1u);
    let label = labels[sample];
    let centre = scaled_centre(sample, lane);
    let first = (params.first_row + row) * ((params.limit - params.known) / 4u);
    var at = first_iterate(read_z(sample, lane));
    for (var step = 0u; step < params.limit; step += 4u) {
        var four = vec4f();
        for (var k = 0u; k < 4u; k++) {
            let before = at.z;
            let p = softmax(before, lane);
            advance(&at, p, centre, label, lane);
            four[k] = change(before, at.z, p, centre, label, lane);
        }
        if step >= params.known {
            let sum = workgroup_sum(select(vec4f(), four, own < params.samples), lane);
            if lane == 0u {
                changes[first + (step - params.known) / 4u] = sum;
            }
        }
    }
}

// The lane's part of what one step changes its sample's objective by.
fn change(start: Classes, end: Classes, p: Softmax, scaled_centre: Classes, label: u32, lane: u32) -> f32 {
    var before = start;
    var after = end;
    var powers = p.powers;
    var centre = scaled_centre;
    var growth = vec4f();
    var rest = vec4f();
    for (var k = 0u; k < CLASS_QUADS; k++) {
        let d = after[k] - before[k];
        let pull = fma(vec4f(0.5 * control.rho), before[k] + after[k], -centre[k]);
        growth = fma(powers[k], expm1(d), growth);
        rest = fma(d, pull - one_hot(label, quad_of(k, lane)), rest);
    }
    let powers_growth = dot(total(growth, lane), vec4f(p.scale));
    return dot(rest, vec4f(1.0)) + select(0.0, log1p(powers_growth), is_first(lane));
}

// exp(x) - 1, also where that is about x.
fn expm1(x: vec4f) -> vec4f {
    var series = fma(x, vec4f(1.0 / 120.0), vec4f(1.0 / 24.0));
    series = fma(x, series, vec4f(1.0 / 6.0));
    series = fma(x, series, vec4f(0.5));
    return select(exp(x) - 1.0, fma(x * x, series, x), abs(x) < vec4f(0.0625));
}

// log(1 + x), also where that is about x.
fn log1p(x: f32) -> f32 {
    var series = fma(x, -1.0 / 6.0, 0.2);
    series = fma(x, series, -0.25);
    series = fma(x, series, 1.0 / 3.0);
    series = fma(x, series, -0.5);
    return select(log(1.0 + x), fma(x * x, series, x), abs(x) < 0.0625);
}
