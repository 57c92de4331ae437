// nm/admm_update: dual step and projection of N:M ADMM in one tensor (Holmes et al. 2021, the Z and U steps in scaled form).
//
//   t = Z - U: Z where the weight is kept, -U elsewhere, and what is kept are the `keep` largest |t| of each group
//   V  = w + U, which is w where kept, else w - t, rounded as weights are stored
//   Z' = V where |V| is among the `keep` largest of its group, else 0      ties go to the lower index
//   t' = Z' - c (V - Z'), the leak c at most 1, so that what is kept can be told from t' again
//
//   sums[g]   = ( |w - Z'|^2, |Z' - Z|^2, |w|^2, |w where not kept|^2 )   over chunk g
//   counts[g] = ( |Z'|^2, mask bits that changed, V that are infinite or NaN, 0 )
//
// w, t: `rows` rows of `stride` units (nm/quads, nm/scalars), which hold `groups` groups of GROUP weights side by side.
// One lane owns one group, a workgroup CHUNK of them, one after another and row after row; lanes stride through them, then
// a fixed tree adds. Oracle: reference::nm::admm_update.
#import "shared/index.wgsl"
#import "shared/reduce_tree.wgsl"
#import "nm/settings.wgsl"
#import "nm/quads.wgsl"
#import "nm/stored_f32.wgsl"

const WG_SIZE: u32 = 256u; // @spec
const GROUP: u32 = 4u; // @spec
const CHUNK: u32 = 1024u; // @spec

struct Params {
    rows: u32,
    groups: u32,
    stride: u32,
    keep: u32,
}

@group(0) @binding(0) var<storage, read> w: array<Stored>;
@group(0) @binding(1) var<storage, read> settings: Settings;
@group(0) @binding(2) var<storage, read_write> t: array<Stored>;
@group(0) @binding(3) var<storage, read_write> sums: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> counts: array<vec4f>;
@group(0) @binding(5) var<uniform> params: Params;

struct Measured {
    sums: vec4f,
    counts: vec4f,
}

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let chunk = linear_group(group, groups);
    let all = params.rows * params.groups;
    let end = min((chunk + 1u) * CHUNK, all);
    var measured = Measured();
    for (var i = chunk * CHUNK + lane; i < end; i += WG_SIZE) {
        let at = (i / params.groups) * params.stride + (i % params.groups) * UNITS;
        let one = update(at);
        measured.sums += one.sums;
        measured.counts += one.counts;
    }
    let sum = workgroup_sum(measured.sums, lane);
    let count = workgroup_sum(measured.counts, lane);
    if lane == 0u && chunk * CHUNK < all {
        sums[chunk] = sum;
        counts[chunk] = count;
    }
}

// Updates the group whose first unit is `at`.
fn update(at: u32) -> Measured {
    var values: array<Unit, UNITS>;
    var sizes: array<Bits, UNITS>;
    for (var i = 0u; i < UNITS; i++) {
        values[i] = unpack(t[at + i]);
        sizes[i] = magnitude(values[i]);
    }
    let before = top(&sizes, params.keep);
    var measured = Measured();
    for (var i = 0u; i < UNITS; i++) {
        let weight = unpack(w[at + i]);
        values[i] = unpack(pack(select(weight - values[i], weight, is_kept(before, i))));
        sizes[i] = magnitude(values[i]);
        measured.counts.z += not_finite(sizes[i]);
    }
    let after = top(&sizes, params.keep);
    measured.counts.y = f32(countOneBits(before ^ after));
    for (var i = 0u; i < UNITS; i++) {
        let weight = unpack(w[at + i]);
        let stays = is_kept(after, i);
        let z_before = select(Unit(), unpack(t[at + i]), is_kept(before, i));
        let z = select(Unit(), values[i], stays);
        measured.sums += vec4f(square(weight - z), square(z - z_before), square(weight),
                               square(select(weight, Unit(), stays)));
        measured.counts.x += square(z);
        t[at + i] = pack(select(-settings.leak * values[i], values[i], stays));
    }
    return measured;
}
