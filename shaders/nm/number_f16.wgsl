// The number that the bits of a half are, by integers, as devices differ in what they make of small halves.
fn number(bits: u32) -> f32 {
    let magnitude = bits & 0x7fffu;
    let normal = bitcast<f32>((magnitude << 13u) + (112u << 23u));
    let finite = select(normal, f32(magnitude) / 16777216.0, magnitude < 0x400u);
    let size = select(finite, bitcast<f32>((magnitude << 13u) | 0x7f800000u), magnitude >= 0x7c00u);
    return select(size, -size, (bits & 0x8000u) != 0u);
}
