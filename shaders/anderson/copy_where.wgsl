// anderson/copy_where: y = x, bit for bit, where a candidate was rejected, or where one is tried; else nothing.
//
//   y = x where (on_reject ? rejected : tried)
//
// x, y: `quads` vec4s in all, of any 4-byte type. One lane owns one vec4. Oracle: reference::anderson::copy_where.
#import "shared/index.wgsl"
#import "anderson/ledger.wgsl"

const WG_SIZE: u32 = 256u; // @spec

struct Params {
    quads: u32,
    on_reject: u32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4u>;
@group(0) @binding(1) var<storage, read> ledger: Ledger;
@group(0) @binding(2) var<storage, read_write> y: array<vec4u>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_group(group, groups) * WG_SIZE + lane;
    let wanted = select(ledger.tried, ledger.rejected, params.on_reject != 0u);
    if wanted != 0u && i < params.quads {
        y[i] = x[i];
    }
}
