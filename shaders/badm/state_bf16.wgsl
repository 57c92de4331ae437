// Duals and second moments stored as bf16, the upper half of a single, rounded up with the chance that makes the mean
// right: to the nearest, a moment whose step is less than half a unit would never move. Four elements are two words, the
// first element in the lower half; random: 16 bits for each. A NaN stays one.
alias Stored = vec2u;

fn pack(value: vec4f, random: vec4u) -> Stored {
    let bits = bitcast<vec4u>(value);
    let magnitude = bits & vec4u(0x7fffffffu);
    let rounded = (bits + random) >> vec4u(16u);
    let kept = (bits >> vec4u(16u)) | select(vec4u(), vec4u(0x40u), magnitude > vec4u(0x7f800000u));
    let halves = select(rounded, kept, magnitude >= vec4u(0x7f800000u));
    return vec2u(halves.x | (halves.y << 16u), halves.z | (halves.w << 16u));
}

fn unpack(stored: Stored) -> vec4f {
    let bits = vec4u(stored.x << 16u, stored.x & 0xffff0000u, stored.y << 16u, stored.y & 0xffff0000u);
    return bitcast<vec4f>(bits);
}

fn pack_moment(value: vec4f, random: vec4u) -> Stored {
    return pack(value, random);
}

fn unpack_moment(stored: Stored) -> vec4f {
    return unpack(stored);
}
