// line_search/activation_step: steps every sample of a down its gradient by the length that minimises along it; the
// next layer's P moves along (ALGORITHMS: exact block steps, the last paragraph).
//
//   q = nu + kappa |M|^2 / |g|^2          s = 1 / q          a = a - s g          P = P - s M
//   A sample rests, s = 0, where |g|^2 is below SMALLEST.
//
// g, a: samples x width, `quads` vec4s a sample; M = W g, P: samples x next width, `next_quads` vec4s a sample. kappa is
// rho when the next layer is the last, else nu. A workgroup owns a sample. Norms that are not finite are noted in the
// status under `origin`. Oracle: reference::line_search::activation_step.
#import "shared/index.wgsl"
#import "shared/reduce_tree.wgsl"
#import "shared/status_of_many.wgsl"
#import "dladmm/control.wgsl"
#import "line_search/length.wgsl"

const WG_SIZE: u32 = 64u; // @spec

struct Params {
    samples: u32,
    quads: u32,
    next_quads: u32,
    last_layer: u32,
    origin: u32,
}

@group(0) @binding(0) var<storage, read> gradient: array<vec4f>;
@group(0) @binding(1) var<storage, read> moved: array<vec4f>;
@group(0) @binding(2) var<storage, read> control: Control;
@group(0) @binding(3) var<storage, read_write> activation: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> product: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> status: SharedStatus;
@group(0) @binding(6) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let sample = linear_group(group, groups);
    let is_sample = sample < params.samples;
    let first = sample * params.quads + lane;
    let next_first = sample * params.next_quads + lane;
    // Nothing, for a group past the last sample: it meets the barriers all the same.
    let end = select(0u, (sample + 1u) * params.quads, is_sample);
    let next_end = select(0u, (sample + 1u) * params.next_quads, is_sample);
    var squares = vec4f();
    for (var i = first; i < end; i += WG_SIZE) {
        let g = gradient[i];
        squares = fma(g, g, squares);
    }
    var moved_squares = vec4f();
    for (var i = next_first; i < next_end; i += WG_SIZE) {
        let m = moved[i];
        moved_squares = fma(m, m, moved_squares);
    }
    let ones = vec4f(1.0);
    let sums = workgroup_sum(vec4f(dot(squares, ones), dot(moved_squares, ones), 0.0, 0.0), lane);
    let kappa = select(control.nu, control.rho, params.last_layer != 0u);
    let step = length_of_step(sums.x, control.nu + kappa * (sums.y / sums.x));
    for (var i = first; i < end; i += WG_SIZE) {
        activation[i] = fma(vec4f(-step), gradient[i], activation[i]);
    }
    for (var i = next_first; i < next_end; i += WG_SIZE) {
        product[i] = fma(vec4f(-step), moved[i], product[i]);
    }
    if lane == 0u && is_sample {
        note_seeing(sums.x + sums.y, params.origin);
    }
}
