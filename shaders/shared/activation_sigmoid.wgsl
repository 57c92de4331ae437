// Sigmoid: f(z) = 1 / (1 + exp(-z)). As f(0) is 1/2, padding is set to zero by name.
#import "shared/feature.wgsl"

fn activate(z: vec4f, quad: u32, features: u32) -> vec4f {
    let f = vec4f(value(z.x), value(z.y), value(z.z), value(z.w));
    return select(vec4f(), f, is_feature(quad, features));
}

// By the exponential that cannot overflow.
fn value(z: f32) -> f32 {
    let e = exp(-abs(z));
    return select(e, 1.0, z >= 0.0) / (1.0 + e);
}

// f' where f has this value.
fn first_derivative(f: f32) -> f32 {
    return f * (1.0 - f);
}

// f'' where f has this value.
fn second_derivative(f: f32) -> f32 {
    return f * (1.0 - f) * (1.0 - 2.0 * f);
}

// A distance from 0 beyond which |(a - f) f'| <= 1, as f' <= exp(-|z|).
fn reach(a: f32) -> f32 {
    return log(1.0 + abs(a));
}

// f' where f has these values.
fn slope_at_value(f: vec4f) -> vec4f {
    return vec4f(first_derivative(f.x), first_derivative(f.y), first_derivative(f.z), first_derivative(f.w));
}
