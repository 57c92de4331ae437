// A group of any size where it is stored. Two groups of 16 bits may meet inside a word: it is for the lane whose group has
// the word's first weight, which is told by `next` whether the weight after its group stays.
#import "nm/top_scalars.wgsl"

alias Stored = u32;

// Finds what the group whose first weight is at `at` keeps.
fn take(at: u32) -> Taken {
    var odd = 0u;
    var sizes: array<Bits, UNITS>;
    for (var i = 0u; i < UNITS; i++) {
        sizes[i] = part(w[(at + i) / WEIGHTS], (at + i) % WEIGHTS) & (ALL_BITS >> 1u);
        odd |= select(0u, 1u, sizes[i] >= INFINITE) << i;
    }
    return Taken(top(&sizes, params.keep), odd);
}

// Writes the words that begin in the group with nothing but what is kept.
fn finish(at: u32, kept: u32, next: u32) {
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
