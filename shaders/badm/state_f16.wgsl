// Duals, and the roots of second moments, stored as f16: m itself would leave its range of 1e-7 to 65504. Rounded up with
// the chance that makes the mean right. Four elements are two words, the first element in the lower half; random: 16
// bits for each. By integers, as devices differ in what they make of small halves. A NaN stays one, and what is too
// large becomes infinite.
alias Stored = vec2u;

fn pack(value: vec4f, random: vec4u) -> Stored {
    let bits = bitcast<vec4u>(value);
    let magnitude = bits & vec4u(0x7fffffffu);
    // From 2^-14 on, a half is a single with a shorter mantissa and another bias; below, a count of 2^-24.
    // More random bits than 13 would not fit beside a count of 10.
    let chance = random & vec4u(0x1fffu);
    let normal = ((magnitude + chance) >> vec4u(13u)) - vec4u(112u << 10u);
    let count = bitcast<vec4f>(min(magnitude, vec4u(0x38800000u))) * 16777216.0;
    let small = vec4u(floor(count + vec4f(chance) / 8192.0));
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
    let value = select(finite, special, magnitude >= vec4u(0x7c00u));
    return select(value, -value, halves >= vec4u(0x8000u));
}

fn pack_moment(value: vec4f, random: vec4u) -> Stored {
    return pack(sqrt(value), random);
}

fn unpack_moment(stored: Stored) -> vec4f {
    let root = unpack(stored);
    return root * root;
}
