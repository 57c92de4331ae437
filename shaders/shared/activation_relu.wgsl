// ReLU: f(z) = max(z, 0). Padding is zero, and so is its f.
fn activate(z: vec4f, quad: u32, features: u32) -> vec4f {
    return max(z, vec4f());
}

// f' where f has this value; 0 at the kink.
fn slope_at_value(f: vec4f) -> vec4f {
    return select(vec4f(), vec4f(1.0), f > vec4f());
}
