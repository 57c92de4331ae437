// How often a curvature is doubled, by bits: log2 may round to the wrong side of a whole number, and exp2 be off by some
// ULPs even where it need not round.

// The smallest k >= 0 with 2^k >= ratio.
fn doublings_to_reach(ratio: f32) -> u32 {
    if !(ratio > 1.0) {
        return 0u;
    }
    let bits = bitcast<u32>(ratio);
    return (bits >> 23u) - 127u + select(0u, 1u, (bits & 0x7fffffu) != 0u);
}

// 2^k for k <= 128.
fn power_of_two(k: u32) -> f32 {
    return bitcast<f32>((k + 127u) << 23u);
}
