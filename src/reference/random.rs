//! Oracle of `shaders/shared/random.wgsl`.

/// Random words of one vec4: pcg4d of seed, step, slot and index.
pub fn random_words(seed: u32, step: u32, slot: u32, index: u32) -> [u32; 4] {
    let mut v =
        [seed, step, slot, index].map(|word| word.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
    let mix = |v: &mut [u32; 4]| {
        v[0] = v[0].wrapping_add(v[1].wrapping_mul(v[3]));
        v[1] = v[1].wrapping_add(v[2].wrapping_mul(v[0]));
        v[2] = v[2].wrapping_add(v[0].wrapping_mul(v[1]));
        v[3] = v[3].wrapping_add(v[1].wrapping_mul(v[2]));
    };
    mix(&mut v);
    v = v.map(|word| word ^ (word >> 16));
    mix(&mut v);
    v
}
