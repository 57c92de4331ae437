// anderson/copy_where: y = x, bit for bit, always or depending on what became of the candidate; else nothing.
//
//   ALWAYS     y = x: puts a dependant aside
//   REJECTED   y = x where a candidate was rejected: takes it back
//   NOT_KEPT   y = x where a candidate was rejected or none was tried: takes back what was computed for it in any case
//
// x, y: `quads` vec4s in all, of any 4-byte type. One lane owns one vec4. Oracle: reference::anderson::copy_where.
#import "shared/index.wgsl"
#import "anderson/ledger.wgsl"

const WG_SIZE: u32 = 256u; // @spec
const ALWAYS: u32 = 0u;
const REJECTED: u32 = 1u;
const NOT_KEPT: u32 = 2u;

struct Params {
    quads: u32,
    when: u32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4u>;
@group(0) @binding(1) var<storage, read> ledger: Ledger;
@group(0) @binding(2) var<storage, read_write> y: array<vec4u>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_group(group, groups) * WG_SIZE + lane;
    let is_rejected = ledger.rejected != 0u;
    let is_wanted = params.when == ALWAYS || is_rejected || (params.when == NOT_KEPT && ledger.tried == 0u);
    if is_wanted && i < params.quads {
        y[i] = x[i];
    }
}
