// The number that the bits of a single are.
fn number(bits: u32) -> f32 {
    return bitcast<f32>(bits);
}
