// nm/admm_update: dual step and projection of N:M ADMM in one tensor (Holmes et al. 2021, the Z and U steps in scaled form),
// for all matrices with groups of one width at once.
//
//   t = Z - U: Z where the weight is kept, -U elsewhere, and what is kept are the `keep` largest |t| of each group
//   V  = w + U, which is w where kept, else w - t, rounded as weights are stored
//   Z' = V where |V| is among the `keep` largest of its group, else 0      ties go to the lower index
//   t' = Z' - c (V - Z'), the leak c at most 1, so that what is kept can be told from t' again      nm/leak
//
//   partials[2 g]     = ( |w - Z'|^2, |Z' - Z|^2, |w|^2, |w where not kept|^2 )   over chunk g
//   partials[2 g + 1] = ( |Z'|^2, mask bits that changed, V that are infinite or NaN, 0 )
//
// w, t: rows of parameters, in which each matrix has rows of `stride` units (nm/quads, nm/scalars) and in those `width`
// groups of GROUP weights side by side. One lane owns one group, a workgroup one chunk of the table: at most CHUNK groups of
// one matrix, one after another and row after row; lanes stride through them, then a fixed tree adds. Partial sums go
// from `slot` on, so that dispatches for groups of several widths fill one list. Oracle: reference::nm::admm_update.
#import "shared/index.wgsl"
#import "shared/reduce_tree.wgsl"
#import "nm/chunk.wgsl"
#import "nm/settings.wgsl"
#import "nm/leak.wgsl"
#import "nm/quads.wgsl"
#import "nm/stored_f32.wgsl"

const WG_SIZE: u32 = 256u; // @spec
const GROUP: u32 = 4u; // @spec

struct Params {
    chunks: u32,
    slot: u32,
}

@group(0) @binding(0) var<storage, read> w: array<Stored>;
@group(0) @binding(1) var<storage, read> chunks: array<Chunk>;
@group(0) @binding(2) var<storage, read> settings: array<Settings>;
@group(0) @binding(3) var<storage, read_write> t: array<Stored>;
@group(0) @binding(4) var<storage, read_write> partials: array<vec4f>;
@group(0) @binding(5) var<uniform> params: Params;

struct Measured {
    sums: vec4f,
    counts: vec4f,
}

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let at = linear_group(group, groups);
    var measured = Measured();
    if at < params.chunks {
        let chunk = chunks[at];
        let leak = leak_of(settings[chunk.entry]);
        for (var i = chunk.first + lane; i < chunk.end; i += WG_SIZE) {
            let unit = unit_of(chunk, i);
            let one = update(chunk.w + unit, chunk.t + unit, chunk.keep, leak);
            measured.sums += one.sums;
            measured.counts += one.counts;
        }
    }
    let sums = workgroup_sum(measured.sums, lane);
    let counts = workgroup_sum(measured.counts, lane);
    if lane == 0u && at < params.chunks {
        partials[2u * (params.slot + at)] = sums;
        partials[2u * (params.slot + at) + 1u] = counts;
    }
}

// Updates a group, given its first unit in w and in t, each of which is read and written once.
fn update(in_w: u32, in_t: u32, keep: u32, leak: f32) -> Measured {
    var weights: array<Unit, UNITS>;
    var values: array<Unit, UNITS>;
    var sizes: array<Bits, UNITS>;
    for (var i = 0u; i < UNITS; i++) {
        weights[i] = unpack(w[in_w + i]);
        values[i] = unpack(t[in_t + i]);
        sizes[i] = magnitude(values[i]);
    }
    let before = top(&sizes, keep);
    var z_before: array<Unit, UNITS>;
    var measured = Measured();
    for (var i = 0u; i < UNITS; i++) {
        let stayed = is_kept(before, i);
        z_before[i] = select(Unit(), values[i], stayed);
        values[i] = unpack(pack(select(weights[i] - values[i], weights[i], stayed)));
        sizes[i] = magnitude(values[i]);
        measured.counts.z += not_finite(sizes[i]);
    }
    let after = top(&sizes, keep);
    measured.counts.y = f32(countOneBits(before ^ after));
    for (var i = 0u; i < UNITS; i++) {
        let stays = is_kept(after, i);
        let z = select(Unit(), values[i], stays);
        measured.sums += vec4f(square(weights[i] - z), square(z - z_before[i]), square(weights[i]),
                               square(select(weights[i], Unit(), stays)));
        measured.counts.x += square(z);
        t[in_t + i] = pack(select(-leak * values[i], values[i], stays));
    }
    return measured;
}
