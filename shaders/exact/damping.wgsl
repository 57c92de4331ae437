// exact/damping: decides how a Gram matrix is damped before it is solved with (ALGORITHMS: exact block steps).
//
//   the matrix that is solved with:   S = M - centre s s^T + shift I
//   weights:      centre = 1/samples;  shift = D + mu + lambda / kappa
//                 D = ridge[layer].w, set to d mean(diag), diag that of the centred M
//                 mu = ridge[layer].x, set to m mean(diag) where it is still zero;  lambda = ridge[layer].y
//                 Of inputs that are alike but for roundings, mean(diag) <= 1e-6 of M's own, the mean counts as zero, and
//                 D is d times M's own mean, or d where that is zero, too: their weights stay as they are.
//   activations:  centre = 0;          shift = nu / kappa
//   steps[slot] = ( shift, floor, 0, 0 ),    floor = 1e-7 (max(diag) + shift), not above which a pivot is none
//
// M: size x size, `stride` vec4s a row, or its diagonal with a stride of 0; s: column sums of the samples, read where
// centre > 0. One workgroup; lanes stride along the diagonal, then a fixed tree adds and compares.
// Oracle: reference::exact::damping.
#import "dladmm/control.wgsl"

const WG_SIZE: u32 = 256u; // @spec

struct Params {
    size: u32,
    stride: u32,
    is_weights: u32,
    last_layer: u32,
    layer: u32,
    slot: u32,
    centre: f32,
    damping: f32,
    ridge: f32,
}

@group(0) @binding(0) var<storage, read> matrix: array<f32>;
@group(0) @binding(1) var<storage, read> sums: array<f32>;
@group(0) @binding(2) var<storage, read> control: Control;
@group(0) @binding(3) var<storage, read_write> ridge: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> steps: array<vec4f>;
@group(0) @binding(5) var<uniform> params: Params;

// Of the diagonal: the centred one's sum and maximum, and M's own sum.
var<workgroup> traces: array<vec3f, WG_SIZE>;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(local_invocation_index) lane: u32) {
    var trace = vec3f();
    for (var i = lane; i < params.size; i += WG_SIZE) {
        let element = matrix[4u * i * params.stride + i];
        trace = joined(trace, vec3f(vec2f(centred(i, element)), element));
    }
    traces[lane] = trace;
    for (var half = WG_SIZE / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            traces[lane] = joined(traces[lane], traces[lane + half]);
        }
    }
    if lane == 0u {
        decide(traces[0]);
    }
}

fn joined(a: vec3f, b: vec3f) -> vec3f {
    return vec3f(a.x + b.x, max(a.y, b.y), a.z + b.z);
}

fn centred(i: u32, element: f32) -> f32 {
    if params.centre > 0.0 {
        return max(fma(-params.centre * sums[i], sums[i], element), 0.0);
    }
    return element;
}

fn decide(trace: vec3f) {
    let kappa = select(control.nu, control.rho, params.last_layer != 0u);
    var shift = control.nu / kappa;
    if params.is_weights != 0u {
        let size = f32(params.size);
        let are_alike = trace.x <= 1e-6 * trace.z;
        let mean = select(trace.x / size, 0.0, are_alike);
        let own_mean = select(trace.z / size, 1.0, trace.z == 0.0);
        let damping = params.damping * select(mean, own_mean, are_alike);
        if ridge[params.layer].x == 0.0 {
            ridge[params.layer].x = params.ridge * mean;
        }
        ridge[params.layer].w = damping;
        shift = damping + ridge[params.layer].x + ridge[params.layer].y / kappa;
    }
    steps[params.slot] = vec4f(shift, 1e-7 * (trace.y + shift), 0.0, 0.0);
}
