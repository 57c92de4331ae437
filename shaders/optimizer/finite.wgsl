// optimizer/finite: looks for gradients that no step can use, before anything is changed by them, in up to four stretches.
//
//   found = max(found, ~(first + k)) over the elements k of each stretch with |g_k| >= limit, or NaN
//
// `limit` is the bits of a float, so that infinities and NaN are past every limit. As places are inverted, what stays is the
// first of them; 0 is none. A stretch is `count` elements of its tensor from vec4 `start` on, none where there is no stretch;
// what pads it is not looked at. The workgroups of one follow those of the one before, and a lane owns one vec4. No lane
// writes unless it found something, so the pass costs one read of the gradients. Oracle: reference::optimizer::finite.
#import "shared/index.wgsl"

const WG_SIZE: u32 = 256u; // @spec

struct Params {
    limit: u32,
    start_0: u32,
    count_0: u32,
    first_0: u32,
    start_1: u32,
    count_1: u32,
    first_1: u32,
    start_2: u32,
    count_2: u32,
    first_2: u32,
    start_3: u32,
    count_3: u32,
    first_3: u32,
}

@group(0) @binding(0) var<storage, read> gradient_0: array<vec4u>;
@group(0) @binding(1) var<storage, read> gradient_1: array<vec4u>;
@group(0) @binding(2) var<storage, read> gradient_2: array<vec4u>;
@group(0) @binding(3) var<storage, read> gradient_3: array<vec4u>;
@group(0) @binding(4) var<storage, read_write> found: array<atomic<u32>>;
@group(0) @binding(5) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let counts = vec4u(params.count_0, params.count_1, params.count_2, params.count_3);
    let groups_of = (counts + vec4u(4u * WG_SIZE - 1u)) / vec4u(4u * WG_SIZE);
    let group_1 = groups_of.x;
    let group_2 = group_1 + groups_of.y;
    let group_3 = group_2 + groups_of.z;
    let own = linear_group(group, groups);
    var i = own * WG_SIZE + lane;
    var count = params.count_0;
    var first = params.first_0;
    if own >= group_3 {
        i -= group_3 * WG_SIZE;
        count = params.count_3;
        first = params.first_3;
    } else if own >= group_2 {
        i -= group_2 * WG_SIZE;
        count = params.count_2;
        first = params.first_2;
    } else if own >= group_1 {
        i -= group_1 * WG_SIZE;
        count = params.count_1;
        first = params.first_1;
    }
    if 4u * i >= count {
        return;
    }
    var values: vec4u;
    if own >= group_3 {
        values = gradient_3[params.start_3 + i];
    } else if own >= group_2 {
        values = gradient_2[params.start_2 + i];
    } else if own >= group_1 {
        values = gradient_1[params.start_1 + i];
    } else {
        values = gradient_0[params.start_0 + i];
    }
    let is_past = (values & vec4u(0x7fffffffu)) >= vec4u(params.limit);
    let places = vec4u(4u * i) + vec4u(0u, 1u, 2u, 3u);
    let candidates = select(vec4u(count), places, is_past);
    let place = min(min(candidates.x, candidates.y), min(candidates.z, candidates.w));
    if place < count {
        atomicMax(&found[0], ~(first + place));
    }
}
