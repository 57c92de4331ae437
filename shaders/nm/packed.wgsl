// The packed form of an N:M matrix (kernels::nm has it in words): for each row the kept weights, group after group, and
// for each of those its place in its group, in `bits` bits from the lowest up, in words from the first on; a place may
// begin in one word and end in the next.
//
// The importing file provides `places`, and `params` with `bits` and `place_words`, the words of a row.

// The place of an entry of a row in its group.
fn place_of(row: u32, entry: u32) -> u32 {
    let bit = entry * params.bits;
    let first_bit = bit % 32u;
    let word = row * params.place_words + bit / 32u;
    var place = places[word] >> first_bit;
    // The second word is looked at only where the place ends in it, and is then in the row.
    if first_bit + params.bits > 32u {
        place |= places[word + 1u] << (32u - first_bit);
    }
    return place & ((1u << params.bits) - 1u);
}
