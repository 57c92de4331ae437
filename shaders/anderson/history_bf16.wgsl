// A history stored as bf16, the upper half of a single: four elements are two words, the first element in the lower
// half. Rounds to the nearest, ties to even; a NaN stays one, whatever its lower half was.
alias Stored = vec2u;

fn pack(value: vec4f) -> Stored {
    let bits = bitcast<vec4u>(value);
    let rounded = (bits + 0x7fffu + ((bits >> vec4u(16u)) & vec4u(1u))) >> vec4u(16u);
    let quiet = (bits >> vec4u(16u)) | vec4u(0x40u);
    let halves = select(rounded, quiet, (bits & vec4u(0x7fffffffu)) > vec4u(0x7f800000u));
    return vec2u(halves.x | (halves.y << 16u), halves.z | (halves.w << 16u));
}

fn unpack(stored: Stored) -> vec4f {
    let bits = vec4u(stored.x << 16u, stored.x & 0xffff0000u, stored.y << 16u, stored.y & 0xffff0000u);
    return bitcast<vec4f>(bits);
}
