// The packed form of an N:M matrix (kernels::nm has it in words): for each row the kept weights, group after group, and
// for each of those its place in its group, in `bits` bits from the lowest up, in words from the first on; a place may
// begin in one word and end in the next.
//
// The importing file provides `places`, and `params` with `bits` and `place_words`, the words of a row.

// The places of so many entries of a row from `entry` on, or as many as 32 bits hold, the first in the lowest bits.
fn places_from(row: u32, entry: u32, count: u32) -> u32 {
    let bit = entry * params.bits;
    let first_bit = bit % 32u;
    let word = row * params.place_words + bit / 32u;
    let here = places[word] >> first_bit;
    // The second word is looked at only where the places go on in it, and is then in the row.
    if first_bit + count * params.bits > 32u {
        return here | (places[word + 1u] << (32u - first_bit));
    }
    return here;
}

// The place of an entry of a row in its group.
fn place_of(row: u32, entry: u32) -> u32 {
    return places_from(row, entry, 1u) & ((1u << params.bits) - 1u);
}
