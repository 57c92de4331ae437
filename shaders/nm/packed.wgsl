// The packed form of an N:M matrix (kernels::nm has it in words): for each row the kept weights, group after group, and
// for each of those its place in its group, in `bits` bits from the lowest up, in words from the first on; a place may
// begin in one word and end in the next.
fn place_in(low: u32, high: u32, first_bit: u32, bits: u32) -> u32 {
    var place = low >> first_bit;
    if first_bit + bits > 32u {
        place |= high << (32u - first_bit);
    }
    return place & ((1u << bits) - 1u);
}
