// A group of any size where it is stored. Two groups of 16 bits may meet inside a word: it is for the lane whose group has
// the word's first weight, which is told by `next` whether the weight after its group stays.
#import "nm/top_scalars.wgsl"

alias Stored = u32;

// The bits of a unit of the group whose first weight is at `at`.
fn unit(at: u32, i: u32) -> Bits {
    return part(w[(at + i) / WEIGHTS], (at + i) % WEIGHTS);
}

// The first place of a unit with this many bits or more; UNIT if there is none.
fn first_from(size: Bits, least: u32) -> u32 {
    return select(UNIT, 0u, size >= least);
}

// Writes the words that begin in the group with nothing but what is kept.
fn write_kept(at: u32, kept: u32, next: u32) {
    let stays = kept | (next << GROUP);
    for (var word = (at + WEIGHTS - 1u) / WEIGHTS; word * WEIGHTS < at + GROUP; word++) {
        var bits = 0u;
        for (var k = 0u; k < WEIGHTS; k++) {
            bits |= select(0u, ALL_BITS << (BITS * k), is_kept(stays, word * WEIGHTS + k - at));
        }
        projected[word] = w[word] & bits;
    }
}

// Clears the words that begin in the padding.
fn clear_padding(first: u32, end: u32) {
    for (var word = (first + WEIGHTS - 1u) / WEIGHTS; word < end / WEIGHTS; word++) {
        projected[word] = 0u;
    }
}
