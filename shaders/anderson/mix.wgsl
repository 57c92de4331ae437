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
    // All of the ledger before the first branch, where one load serves all lanes of a CPU.
    let columns = ledger.columns;
    let step = ledger.step;
    let tried = ledger.tried;
    let gamma = array<vec4f, MOST_COLUMNS / 4u>(gammas(0u), gammas(4u), gammas(8u), gammas(12u));
    if tried == 0u || i >= params.quads {
        return;
    }
    var change = vec4f();
    change = mixed(i, 0u, columns, gamma[0], change);
    change = mixed(i, 4u, columns, gamma[1], change);
    change = mixed(i, 8u, columns, gamma[2], change);
    change = mixed(i, 12u, columns, gamma[3], change);
    live[i] = fma(vec4f(-step), change, g[i]);
}

fn gammas(first: u32) -> vec4f {
    return vec4f(ledger.gamma[first], ledger.gamma[first + 1u], ledger.gamma[first + 2u], ledger.gamma[first + 3u]);
}

// `change` and the share of four columns.
fn mixed(i: u32, first: u32, columns: u32, gamma: vec4f, change: vec4f) -> vec4f {
    var sum = change;
    if first < columns {
        sum = fma(vec4f(gamma.x), moved(i, first), sum);
    }
    if first + 1u < columns {
        sum = fma(vec4f(gamma.y), moved(i, first + 1u), sum);
    }
    if first + 2u < columns {
        sum = fma(vec4f(gamma.z), moved(i, first + 2u), sum);
    }
    if first + 3u < columns {
        sum = fma(vec4f(gamma.w), moved(i, first + 3u), sum);
    }
    return sum;
}

fn moved(i: u32, column: u32) -> vec4f {
    return unpack(history[(params.memory + column) * params.quads + i]);
}
