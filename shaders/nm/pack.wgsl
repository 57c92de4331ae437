// nm/pack: the packed form of an N:M matrix: its kept weights, and their places.
//
//   values[r, q keep + s] = w[r, q GROUP + p]   with p the place of the s-th weight that group q keeps
//   places[r]             = all p of the row in this order, `bits` bits each
//
// w: `rows` rows of `stride` weights of 32 or 16 bits. mask: as nm/project leaves it, `mask_words` words for each row,
// `per_word` groups in each. values: rows of `value_words` words of such weights, of which `entries` are values; places: rows
// of `place_words` words. What is left of a row is zero. One lane owns one word of values and one of places.
// Oracle: reference::nm::pack.
#import "shared/index.wgsl"
#import "nm/words.wgsl"

const WG_SIZE: u32 = 256u; // @spec

struct Params {
    rows: u32,
    keep: u32,
    width: u32,        // weights of a group
    bits: u32,
    entries: u32,
    stride: u32,
    mask_words: u32,
    per_word: u32,
    value_words: u32,
    place_words: u32,
}

@group(0) @binding(0) var<storage, read> w: array<u32>;
@group(0) @binding(1) var<storage, read> mask: array<u32>;
@group(0) @binding(2) var<storage, read_write> values: array<u32>;
@group(0) @binding(3) var<storage, read_write> places: array<u32>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_group(group, groups) * WG_SIZE + lane;
    if i < params.rows * params.value_words {
        values[i] = value_word(i / params.value_words, i % params.value_words);
    }
    if i < params.rows * params.place_words {
        places[i] = place_word(i / params.place_words, i % params.place_words);
    }
}

fn value_word(row: u32, word: u32) -> u32 {
    var packed = 0u;
    for (var k = 0u; k < WEIGHTS; k++) {
        let entry = WEIGHTS * word + k;
        if entry < params.entries {
            let at = row * params.stride + (entry / params.keep) * params.width + place(row, entry);
            packed |= part(w[at / WEIGHTS], at % WEIGHTS) << (BITS * k);
        }
    }
    return packed;
}

// The place in its group of a row's kept weight number `entry`.
fn place(row: u32, entry: u32) -> u32 {
    let q = entry / params.keep;
    let word = mask[row * params.mask_words + q / params.per_word];
    var kept = word >> (params.width * (q % params.per_word));
    for (var s = entry % params.keep; s > 0u; s--) {
        kept &= kept - 1u;
    }
    // A mask that keeps fewer than it should must not lead out of the group.
    return min(firstTrailingBit(kept), params.width - 1u);
}

fn place_word(row: u32, word: u32) -> u32 {
    let first = (32u * word) / params.bits;
    let end = min((32u * word + 31u) / params.bits + 1u, params.entries);
    var packed = 0u;
    for (var entry = first; entry < end; entry++) {
        let bit = entry * params.bits;
        let p = place(row, entry);
        if bit >= 32u * word {
            packed |= p << (bit - 32u * word);
        } else {
            packed |= p >> (32u * word - bit);
        }
    }
    return packed;
}
