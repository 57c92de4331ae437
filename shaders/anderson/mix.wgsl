// anderson/mix: the candidate, where one is tried; else nothing is touched.
//
//   live = g - step * sum over the columns held of gamma_i dG_i
//
// live, g: `quads` vec4s in all, padding zero; history: as anderson/columns leaves it, of which the planes of dG are
// read. One lane owns one vec4. Oracle: reference::anderson::mix.
#import "shared/index.wgsl"
#import "anderson/ledger.wgsl"
#import "anderson/history_f32.wgsl"

const WG_SIZE: u32 = 256u; // @spec

struct Params {
    quads: u32,
    memory: u32,
}

@group(0) @binding(0) var<storage, read> g: array<vec4f>;
@group(0) @binding(1) var<storage, read> history: array<Stored>;
@group(0) @binding(2) var<storage, read> ledger: Ledger;
@group(0) @binding(3) var<storage, read_write> live: array<vec4f>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_group(group, groups) * WG_SIZE + lane;
    let columns = ledger.columns;
    let step = ledger.step;
    if ledger.tried == 0u || i >= params.quads {
        return;
    }
    var change = vec4f();
    for (var column = 0u; column < columns; column++) {
        let moved = unpack(history[(params.memory + column) * params.quads + i]);
        change = fma(vec4f(ledger.gamma[column]), moved, change);
    }
    live[i] = fma(vec4f(-step), change, g[i]);
}
