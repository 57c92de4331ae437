// The largest of a group of a multiple of four weights: four at a time, which groups never share. Magnitudes are compared
// as integers, which order as the floats do, so that no compiler's idea of NaN and denormals gets into a mask.
alias Bits = vec4u;

const UNIT: u32 = 4u;
const UNITS: u32 = GROUP / UNIT;

// Which of a unit's weights a group's mask keeps.
fn is_kept(mask: u32, unit: u32) -> vec4<bool> {
    return (vec4u(mask >> (4u * unit)) & vec4u(1u, 2u, 4u, 8u)) != vec4u();
}

// 1 where the weight of this size at place `at` goes before those at `places`: larger, or as large and before them.
fn goes_before(size: u32, at: u32, sizes: vec4u, places: vec4u) -> vec4u {
    return select(vec4u(), vec4u(1u), vec4u(size) >= sizes + select(vec4u(1u), vec4u(), vec4u(at) < places));
}

// The mask of a group's `keep` largest; bit k is its weight k.
fn top(sizes: ptr<function, array<Bits, UNITS>>, keep: u32) -> u32 {
    var mask = 0u;
    for (var i = 0u; i < UNITS; i++) {
        let own = (*sizes)[i];
        let places = 4u * i + vec4u(0u, 1u, 2u, 3u);
        var ahead = vec4u();
        for (var j = 0u; j < UNITS; j++) {
            let other = (*sizes)[j];
            ahead += goes_before(other.x, 4u * j, own, places);
            ahead += goes_before(other.y, 4u * j + 1u, own, places);
            ahead += goes_before(other.z, 4u * j + 2u, own, places);
            ahead += goes_before(other.w, 4u * j + 3u, own, places);
        }
        let bits = select(vec4u(), vec4u(1u, 2u, 4u, 8u), ahead < vec4u(keep));
        mask |= ((bits.x | bits.y) | (bits.z | bits.w)) << (4u * i);
    }
    return mask;
}
