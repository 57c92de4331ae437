// Weights stored as f16, rounded to the nearest and ties to even: a vec4 is two words, the first element in the lower
// half. By integers, as devices differ in what they make of small halves. A NaN stays one, and what is too large becomes
// infinite.
alias Stored = vec2u;

fn pack(value: vec4f) -> Stored {
    let bits = bitcast<vec4u>(value);
    let magnitude = bits & vec4u(0x7fffffffu);
    // From 2^-14 on, a half is a single with a shorter mantissa and another bias; below, a count of 2^-24.
    let odd = (magnitude >> vec4u(13u)) & vec4u(1u);
    let normal = ((magnitude + vec4u(0xfffu) + odd) >> vec4u(13u)) - vec4u(112u << 10u);
    let small = vec4u(round(bitcast<vec4f>(min(magnitude, vec4u(0x38800000u))) * 16777216.0));
    let finite = min(select(normal, small, magnitude < vec4u(0x38800000u)), vec4u(0x7c00u));
    let large = select(finite, vec4u(0x7c00u), magnitude >= vec4u(0x47800000u));
    let halves = select(large, vec4u(0x7e00u), magnitude > vec4u(0x7f800000u))
               | ((bits >> vec4u(16u)) & vec4u(0x8000u));
    return vec2u(halves.x | (halves.y << 16u), halves.z | (halves.w << 16u));
}

fn unpack(stored: Stored) -> vec4f {
    let halves = vec4u(stored.x & 0xffffu, stored.x >> 16u, stored.y & 0xffffu, stored.y >> 16u);
    let magnitude = halves & vec4u(0x7fffu);
    let normal = bitcast<vec4f>((magnitude << vec4u(13u)) + vec4u(112u << 23u));
    let small = vec4f(magnitude) / 16777216.0;
    let finite = select(normal, small, magnitude < vec4u(0x400u));
    let special = bitcast<vec4f>((magnitude << vec4u(13u)) | vec4u(0x7f800000u));
    let size = bitcast<vec4u>(select(finite, special, magnitude >= vec4u(0x7c00u)));
    return bitcast<vec4f>(size | ((halves & vec4u(0x8000u)) << vec4u(16u)));
}
