// optimizer/finite: looks for gradients that no step can use, before anything is changed by them.
//
//   found = max(found, ~i) over all elements i with |g_i| >= limit, or NaN
//
// `limit` is the bits of a float, so that infinities and NaN are past every limit. As indices are inverted, what stays
// is the first of them; 0 is none. g: `quads` vec4s in all; one lane owns one vec4. No lane writes unless it found
// something, so the pass costs one read of the gradients. Oracle: reference::optimizer::finite.
#import "shared/index.wgsl"

const WG_SIZE: u32 = 256u; // @spec

struct Params {
    quads: u32,
    limit: u32,
}

@group(0) @binding(0) var<storage, read> gradient: array<vec4u>;
@group(0) @binding(1) var<storage, read_write> found: array<atomic<u32>>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_group(group, groups) * WG_SIZE + lane;
    if i >= params.quads {
        return;
    }
    let is_past = (gradient[i] & vec4u(0x7fffffffu)) >= vec4u(params.limit);
    if any(is_past) {
        let places = select(vec4u(4u), vec4u(0u, 1u, 2u, 3u), is_past);
        let first = min(min(places.x, places.y), min(places.z, places.w));
        atomicMax(&found[0], ~(4u * i + first));
    }
}
