// optimizer/finite: looks for gradients that no step can use, before anything is changed by them.
//
//   found = max(found, ~place(r, c)) over all elements with |g_rc| >= limit, or NaN,   place(r, c) = first + r stride + c
//
// `limit` is the bits of a float, so that infinities and NaN are past every limit. As places are inverted, what stays is
// the first of them; 0 is none. g: `quads` vec4s in all, rows of `columns` elements; what pads a row is not looked at. One
// lane owns one vec4. No lane writes unless it found something, so the pass costs one read of the gradients.
// Oracle: reference::optimizer::finite.
#import "shared/index.wgsl"

const WG_SIZE: u32 = 256u; // @spec

struct Params {
    quads: u32,
    columns: u32,
    limit: u32,
    first: u32,
    stride: u32,
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
        note(i, is_past);
    }
}

// Notes the first of these elements of a vec4 that is in its row.
fn note(i: u32, is_past: vec4<bool>) {
    let row_quads = (params.columns + 3u) / 4u;
    let columns = vec4u(4u * (i % row_quads)) + vec4u(0u, 1u, 2u, 3u);
    let candidates = select(vec4u(params.columns), columns, is_past);
    let column = min(min(candidates.x, candidates.y), min(candidates.z, candidates.w));
    if column < params.columns {
        atomicMax(&found[0], ~(params.first + i / row_quads * params.stride + column));
    }
}
