// A permutation of 0 .. count - 1 for each seed and epoch, computed where it is needed and stored nowhere.
//
// A Feistel network over pairs (l, r) with l < a and r < b, a = `side` about the root of count, b = ceil(count / a):
// each half in turn is shifted by a hash of the other, modulo its own size, so that every round can be undone. As a b may
// exceed count, an index is sent on until it falls below; it must, as its way through a permutation comes back to it.

const ROUNDS: u32 = 4u;

// Every bit of the result depends on every bit of the input ("lowbias32", Chris Wellons' search for such constants).
fn hash(value: u32) -> u32 {
    var x = value;
    x = (x ^ (x >> 16u)) * 0x7feb352du;
    x = (x ^ (x >> 15u)) * 0x846ca68bu;
    return x ^ (x >> 16u);
}

fn permuted(index: u32, count: u32, side: u32, seed: u32, epoch: u32) -> u32 {
    let other = (count + side - 1u) / side;
    let key = hash(seed ^ hash(epoch));
    var i = index;
    loop {
        var l = i / other;
        var r = i % other;
        for (var round = 0u; round < ROUNDS; round++) {
            l = (l + hash(r ^ hash(key + 2u * round)) % side) % side;
            r = (r + hash(l ^ hash(key + 2u * round + 1u)) % other) % other;
        }
        i = l * other + r;
        if i < count {
            break;
        }
    }
    return i;
}
