// nm/project: the nearest matrix in which every group of a row has at most `keep` weights that are not zero, and where
// those are (Holmes et al. 2021, the projection of their Z step).
//
//   projected = w where |w| is among the `keep` largest of its group, else 0      ties go to the lower index
//   found     = max(found, ~i) over all w_i that are infinite or NaN; both rank above all others
//
// w, projected: `rows` rows of `stride` units (nm/quads, nm/scalars), which hold `groups` groups of GROUP weights side by
// side and then padding. mask: `words` words for each row; word k holds the groups from k PER_WORD on, GROUP bits each from
// the lowest up, where PER_WORD is the most that fit, so that no group is cut. One lane owns one group, a workgroup the
// groups of WORDS words of the mask, which its lanes put together. Oracle: reference::nm::project.
#import "shared/index.wgsl"
#import "nm/quads.wgsl"
#import "nm/stored_f32.wgsl"

const WG_SIZE: u32 = 256u; // @spec
const GROUP: u32 = 4u; // @spec

const PER_WORD: u32 = 32u / GROUP;
const WORDS: u32 = WG_SIZE / PER_WORD;

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

var<workgroup> parts: array<u32, WG_SIZE>;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let first_word = linear_group(group, groups) * WORDS;
    let word = first_word + lane / PER_WORD;
    let slot = lane % PER_WORD;
    let row = word / params.words;
    let place = (word % params.words) * PER_WORD + slot;
    var kept = 0u;
    if lane < WORDS * PER_WORD && row < params.rows && place < params.groups {
        kept = project(row * params.stride + place * UNITS);
        if place + 1u == params.groups {
            clear_padding(row);
        }
    }
    parts[lane] = kept << (GROUP * slot);
    workgroupBarrier();
    if lane < WORDS && first_word + lane < params.rows * params.words {
        var bits = 0u;
        for (var k = 0u; k < PER_WORD; k++) {
            bits |= parts[lane * PER_WORD + k];
        }
        mask[first_word + lane] = bits;
    }
}

// Projects the group whose first unit is `at`; returns its mask.
fn project(at: u32) -> u32 {
    var sizes: array<Bits, UNITS>;
    for (var i = 0u; i < UNITS; i++) {
        sizes[i] = magnitude(unpack(w[at + i]));
        if not_finite(sizes[i]) > 0.0 {
            atomicMax(&found[0], ~(UNIT * (at + i)));
        }
    }
    let kept = top(&sizes, params.keep);
    for (var i = 0u; i < UNITS; i++) {
        projected[at + i] = pack(select(Unit(), unpack(w[at + i]), is_kept(kept, i)));
    }
    return kept;
}

fn clear_padding(row: u32) {
    for (var i = params.groups * UNITS; i < params.stride; i++) {
        projected[row * params.stride + i] = pack(Unit());
    }
}
