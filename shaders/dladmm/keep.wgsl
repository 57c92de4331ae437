// dladmm/keep: copies the state aside as long as every iteration so far was finite, so that the state before a failing
// iteration survives it.
//
//   kept = x where status.origin = 0
//
// x, kept: `quads` vec4s in all. One lane owns one vec4. Oracle: reference::dladmm::keep.
#import "shared/index.wgsl"
#import "shared/status.wgsl"

const WG_SIZE: u32 = 256u; // @spec

struct Params {
    quads: u32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> status: Status;
@group(0) @binding(2) var<storage, read_write> kept: array<vec4f>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_group(group, groups) * WG_SIZE + lane;
    if i < params.quads && status.origin == 0u {
        kept[i] = x[i];
    }
}
