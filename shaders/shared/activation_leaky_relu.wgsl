// Leaky ReLU: f(z) = z above zero and SLOPE z below. Padding is zero, and so is its f.
const SLOPE: f32 = 0.01; // @spec

fn activate(z: vec4f, quad: u32, features: u32) -> vec4f {
    return select(SLOPE * z, z, z > vec4f());
}

// f' where f has this value; SLOPE at the kink.
fn slope_at_value(f: vec4f) -> vec4f {
    return select(vec4f(SLOPE), vec4f(1.0), f > vec4f());
}
