// nm/project: the nearest matrix in which every group of a row has at most `keep` weights that are not zero, and where
// those are (Holmes et al. 2021, the projection of their Z step).
//
//   projected = w where |w| is among the `keep` largest of its group, else 0      ties go to the lower index
//   found     = max(found, ~i) over all w_i that are infinite or NaN; both rank above all others
//
// w, projected: `rows` rows of `stride` weights of 32 or 16 bits, which hold `groups` groups of GROUP side by side and then
// padding. mask: `words` words for each row; word k holds the groups from k PER_WORD on, GROUP bits each from the lowest up,
// where PER_WORD is the most that fit, so that no group is cut.
//
// A lane owns RUN groups, a workgroup the groups of WORDS words of the mask, which its lanes put together; WORDS is even, so
// that no word of 16-bit weights is of two workgroups. RUN is 1, which makes neighbouring lanes read neighbouring groups;
// or, where lanes are a loop and workgroup memory costs what other memory does, all of a word. Groups that share words
// of weights with their neighbours are for the former. Oracle: reference::nm::project.
#import "shared/index.wgsl"
#import "nm/words.wgsl"
#import "nm/group_quads.wgsl"

const WG_SIZE: u32 = 256u; // @spec
const GROUP: u32 = 4u; // @spec
const RUN: u32 = 1u; // @spec
const INFINITE: u32 = 0x7f800000u; // @spec

const PER_WORD: u32 = 32u / GROUP;
const LANES: u32 = PER_WORD / RUN; // that share a word of the mask
const WORDS: u32 = (WG_SIZE / LANES) & 0xfffffffeu;

struct Params {
    rows: u32,
    groups: u32,
    stride: u32,
    words: u32,
    keep: u32,
}

@group(0) @binding(0) var<storage, read> w: array<Stored>;
@group(0) @binding(1) var<storage, read_write> projected: array<Stored>;
@group(0) @binding(2) var<storage, read_write> mask: array<u32>;
@group(0) @binding(3) var<storage, read_write> found: array<atomic<u32>>;
@group(0) @binding(4) var<uniform> params: Params;

// Which of a group's weights stay, and which are infinite or NaN; bit k is its weight k.
struct Taken {
    kept: u32,
    odd: u32,
}

// What each lane's groups keep, the first group in the lowest bits.
var<workgroup> parts: array<u32, WG_SIZE>;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let first_word = linear_group(group, groups) * WORDS;
    let word = first_word + lane / LANES;
    let row = word / params.words;
    let place = (word - row * params.words) * PER_WORD + lane % LANES * RUN;
    let at = row * params.stride + place * GROUP;
    let end = select(0u, params.groups, lane < WORDS * LANES && row < params.rows);
    var kept = 0u;
    var odd = 0u;
    for (var k = 0u; k < RUN; k++) {
        if place + k < end {
            let taken = take(at + GROUP * k);
            kept |= taken.kept << (GROUP * k);
            odd |= taken.odd << (GROUP * k);
        }
    }
    if odd != 0u {
        atomicMax(&found[0], ~(at + firstTrailingBit(odd)));
    }
    parts[lane] = kept;
    workgroupBarrier();
    if place < end {
        let is_last = place + RUN >= end;
        finish(at, kept, select(parts[(lane + 1u) % WG_SIZE] & 1u, 0u, is_last));
        if is_last {
            clear_padding(row * params.stride + end * GROUP, (row + 1u) * params.stride);
        }
    }
    if lane < WORDS && first_word + lane < params.rows * params.words {
        var bits = 0u;
        for (var k = 0u; k < LANES; k++) {
            bits |= parts[lane * LANES + k] << (GROUP * RUN * k);
        }
        mask[first_word + lane] = bits;
    }
}
