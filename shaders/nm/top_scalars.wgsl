// The largest of a group of any size: weight by weight, because a group may begin inside a vec4. Magnitudes are compared
// as integers, as in nm/top_quads.
alias Bits = u32;

const UNIT: u32 = 1u;
const UNITS: u32 = GROUP;

// Whether a group's mask keeps a weight.
fn is_kept(mask: u32, unit: u32) -> bool {
    return ((mask >> unit) & 1u) != 0u;
}

// The mask of a group's `keep` largest; bit k is its weight k. Of equal ones the first goes before the others.
fn top(sizes: ptr<function, array<Bits, UNITS>>, keep: u32) -> u32 {
    var mask = 0u;
    for (var i = 0u; i < UNITS; i++) {
        let own = (*sizes)[i];
        var ahead = 0u;
        for (var j = 0u; j < UNITS; j++) {
            ahead += select(0u, 1u, (*sizes)[j] >= own + select(1u, 0u, j < i));
        }
        mask |= select(0u, 1u, ahead < keep) << i;
    }
    return mask;
}
