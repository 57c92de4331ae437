// The largest of a group of a multiple of four weights: four at a time, which groups never share. Magnitudes are compared
// as integers, which order as the floats do, so that no compiler's idea of NaN and denormals gets into a mask.
alias Bits = vec4u;

const UNIT: u32 = 4u;
const UNITS: u32 = GROUP / UNIT;

// Which of a unit's weights a group's mask keeps.
fn is_kept(mask: u32, unit: u32) -> vec4<bool> {
    return (vec4u(mask >> (4u * unit)) & vec4u(1u, 2u, 4u, 8u)) != vec4u();
}

// Four bits.
fn mask_of(which: vec4<bool>) -> u32 {
    let bits = select(vec4u(), vec4u(1u, 2u, 4u, 8u), which);
    return (bits.x | bits.y) | (bits.z | bits.w);
}

fn count(ones: vec4u) -> u32 {
    return (ones.x + ones.y) + (ones.z + ones.w);
}

// 1 where a weight of this size goes before one that lies behind it: unless that is larger. Sizes have no sign bit, and
// many devices compare signed integers faster.
fn goes_before(size: u32, behind: vec4u) -> vec4u {
    return select(vec4u(), vec4u(1u), vec4i(i32(size)) >= vec4i(behind));
}

// How many of its unit go before each weight: every pair is compared once.
fn ranks(sizes: vec4u) -> vec4u {
    let x = goes_before(sizes.x, sizes).yzw;
    let y = goes_before(sizes.y, sizes).zw;
    let z = goes_before(sizes.z, sizes).w;
    return vec4u(3u - (x.x + x.y + x.z), 2u + x.x - (y.x + y.y), 1u + x.y + y.x - z, x.z + y.y + z);
}

// The mask of a group's `keep` largest; bit k is its weight k. Of equal ones the first goes before the others.
fn top(sizes: ptr<function, array<Bits, UNITS>>, keep: u32) -> u32 {
    var ahead: array<vec4u, UNITS>;
    for (var j = 0u; j < UNITS; j++) {
        let behind = (*sizes)[j];
        ahead[j] = ranks(behind);
        for (var i = 0u; i < j; i++) {
            let x = goes_before((*sizes)[i].x, behind);
            let y = goes_before((*sizes)[i].y, behind);
            let z = goes_before((*sizes)[i].z, behind);
            let w = goes_before((*sizes)[i].w, behind);
            ahead[j] += (x + y) + (z + w);
            ahead[i] += vec4u(4u) - vec4u(count(x), count(y), count(z), count(w));
        }
    }
    var mask = 0u;
    for (var i = 0u; i < UNITS; i++) {
        mask |= mask_of(ahead[i] < vec4u(keep)) << (UNIT * i);
    }
    return mask;
}
