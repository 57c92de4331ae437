// Weights stored as bf16, the upper half of a single, rounded to the nearest and ties to even: a vec4 is two words, the
// first element in the lower half. A NaN stays one.
alias Stored = vec2u;

fn pack(value: vec4f) -> Stored {
    let bits = bitcast<vec4u>(value);
    let rounded = (bits + vec4u(0x7fffu) + ((bits >> vec4u(16u)) & vec4u(1u))) >> vec4u(16u);
    let kept = (bits >> vec4u(16u)) | vec4u(0x40u);
    let halves = select(rounded, kept, (bits & vec4u(0x7fffffffu)) > vec4u(0x7f800000u));
    return vec2u(halves.x | (halves.y << 16u), halves.z | (halves.w << 16u));
}

fn unpack(stored: Stored) -> vec4f {
    let bits = vec4u(stored.x << 16u, stored.x & 0xffff0000u, stored.y << 16u, stored.y & 0xffff0000u);
    return bitcast<vec4f>(bits);
}
