//! Values for tests: as good as random, and the same on every run.

/// `count` values between −1 and 1, other ones for each seed.
pub fn values(seed: u32, count: u32) -> Vec<f32> {
    let hash =
        |k: u32| (k.wrapping_mul(2_654_435_761) ^ seed.wrapping_mul(40_503)).wrapping_mul(2_246_822_519);
    (0..count).map(|k| (hash(k) >> 8) as f32 / (1 << 23) as f32 - 1.0).collect()
}
