// Hyperbolic tangent: f(z) = (1 - exp(-2z)) / (1 + exp(-2z)). Padding is zero, and so is its f.
#import "shared/feature.wgsl"

fn activate(z: vec4f, quad: u32, features: u32) -> vec4f {
    return vec4f(value(z.x), value(z.y), value(z.z), value(z.w));
}

// By the exponential that cannot overflow, as some devices' own tanh does. Near zero, where 1 - exp(-2z) cancels, by the
// series up to z^9, whose next term is below half an ULP.
fn value(z: f32) -> f32 {
    let s = z * z;
    let series = z * (1.0 + s * (-1.0 / 3.0 + s * (2.0 / 15.0 + s * (-17.0 / 315.0 + s * (62.0 / 2835.0)))));
    let e = exp(-2.0 * abs(z));
    let f = (1.0 - e) / (1.0 + e);
    return select(select(-f, f, z >= 0.0), series, abs(z) < 0.25);
}

// f' where f has this value.
fn first_derivative(f: f32) -> f32 {
    return 1.0 - f * f;
}

// f'' where f has this value.
fn second_derivative(f: f32) -> f32 {
    return -2.0 * f * (1.0 - f * f);
}

// A distance from 0 beyond which |(a - f) f'| <= 1, as f' <= 4 exp(-2|z|).
fn reach(a: f32) -> f32 {
    return 0.5 * log(4.0 * (1.0 + abs(a)));
}

// f' where f has these values.
fn slope_at_value(f: vec4f) -> vec4f {
    return vec4f(first_derivative(f.x), first_derivative(f.y), first_derivative(f.z), first_derivative(f.w));
}
