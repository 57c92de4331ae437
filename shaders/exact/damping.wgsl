// exact/damping: decides how a Gram matrix is damped before it is solved with (ALGORITHMS: exact block steps).
//
//   the matrix that is solved with:   S = M - centre s s^T + shift I
//   weights:      centre = 1/samples;  shift = d mean(diag) + mu + lambda / kappa,  diag that of the centred M
//                 mu = ridge[layer].x, set to m mean(diag) where it is still zero;  lambda = ridge[layer].y
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

var<workgroup> traces: array<vec2f, WG_SIZE>;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(local_invocation_index) lane: u32) {
    var trace = 0.0;
    var top = 0.0;
    for (var i = lane; i < params.size; i += WG_SIZE) {
        let element = centred(i);
        trace += element;
        top = max(top, element);
    }
    traces[lane] = vec2f(trace, top);
    for (var half = WG_SIZE / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            let other = traces[lane + half];
            traces[lane] = vec2f(traces[lane].x + other.x, max(traces[lane].y, other.y));
        }
    }
    if lane == 0u {
        decide(traces[0].x / f32(params.size), traces[0].y);
    }
}

fn centred(i: u32) -> f32 {
    let element = matrix[4u * i * params.stride + i];
    if params.centre > 0.0 {
        return max(fma(-params.centre * sums[i], sums[i], element), 0.0);
    }
    return element;
}

fn decide(mean: f32, top: f32) {
    let kappa = select(control.nu, control.rho, params.last_layer != 0u);
    var shift = control.nu / kappa;
    if params.is_weights != 0u {
        if ridge[params.layer].x == 0.0 {
            ridge[params.layer].x = params.ridge * mean;
        }
        shift = params.damping * mean + ridge[params.layer].x + ridge[params.layer].y / kappa;
    }
    steps[params.slot] = vec4f(shift, 1e-7 * (top + shift), 0.0, 0.0);
}
