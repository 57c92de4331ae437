// Weights as the words that hold them: WEIGHTS to a word, the first in the lowest bits. What imports this moves and compares
// bits and computes with none of them, so that a weight keeps all of its own, those of a denormal or NaN too.
const WEIGHTS: u32 = 1u; // @spec

const BITS: u32 = 32u / WEIGHTS;
const ALL_BITS: u32 = 0xffffffffu >> (32u - BITS);

// Weight number k of a word.
fn part(word: u32, k: u32) -> u32 {
    return (word >> (BITS * k)) & ALL_BITS;
}
