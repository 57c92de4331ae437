// anderson/extrapolate: goes on in the direction of the last sweep, where that is tried, and keeps what the sweep left.
//
//   live = live + step (live - g) where tried            g = live as it was, bit for bit
//
// live, g: `quads` vec4s in all, padding zero. One lane owns one vec4. Oracle: reference::anderson::extrapolate.
#import "shared/index.wgsl"
#import "anderson/ledger.wgsl"

const WG_SIZE: u32 = 256u; // @spec

struct Params {
    quads: u32,
}

@group(0) @binding(0) var<storage, read> ledger: Ledger;
@group(0) @binding(1) var<storage, read_write> live: array<vec4u>;
@group(0) @binding(2) var<storage, read_write> g: array<vec4u>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_group(group, groups) * WG_SIZE + lane;
    let is_tried = ledger.tried != 0u;
    let step = ledger.step;
    if i >= params.quads {
        return;
    }
    let bits = live[i];
    if is_tried {
        let now = bitcast<vec4f>(bits);
        live[i] = bitcast<vec4u>(fma(vec4f(step), now - bitcast<vec4f>(g[i]), now));
    }
    g[i] = bits;
}
