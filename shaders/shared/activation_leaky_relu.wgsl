// Leaky ReLU: f(z) = z above zero and SLOPE z below. Padding is zero, and so is its f.
const SLOPE: f32 = 0.01; // @spec

fn activate(z: vec4f, quad: u32, features: u32) -> vec4f {
    return select(SLOPE * z, z, z > vec4f());
}
