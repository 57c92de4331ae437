// The number that the bits of a bf16 are: the upper half of a single.
fn number(bits: u32) -> f32 {
    return bitcast<f32>(bits << 16u);
}
