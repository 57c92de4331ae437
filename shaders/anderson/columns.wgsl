// anderson/columns: what one sweep adds to the history, and its products with every column, in one read.
//
//   f' = live - x                                  the sweep's residual
//   dF = f' - f,   dG = live - g                   column `slot` of the history, where the ledger forms one
//   f  = f',       g  = live                       g bit for bit: it is what a rejected candidate gives way to
//   partials[pair][chunk] = ( <dF_i, dF>, <dF_i, f'>, <dF_j, dF>, <dF_j, f'> )        i = 2 pair, j = i + 1
//
// dG = dX + dF, which is all that a candidate needs. live, x, f, g: `quads` vec4s, padding zero; history: `memory`
// planes of dF, then as many of dG, each of `quads`; partials: a list of `chunks` vec4s for each pair of columns, zero
// for columns that hold nothing. Products are of dF as it was stored. A workgroup owns a chunk of CHUNK vec4s, a
// lane ROUNDS of them, WG_SIZE apart; then a fixed tree adds them. Oracle: reference::anderson::columns.
#import "shared/index.wgsl"
#import "shared/reduce_tree.wgsl"
#import "anderson/ledger.wgsl"
#import "anderson/history_f32.wgsl"

const WG_SIZE: u32 = 256u; // @spec
const ROUNDS: u32 = 4u; // @spec
const CHUNK: u32 = ROUNDS * WG_SIZE;

struct Params {
    quads: u32,
    memory: u32,
    offset: u32,
    chunks: u32,
}

@group(0) @binding(0) var<storage, read> live: array<vec4u>;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> ledger: Ledger;
@group(0) @binding(3) var<storage, read_write> f: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> g: array<vec4u>;
@group(0) @binding(5) var<storage, read_write> history: array<Stored>;
@group(0) @binding(6) var<storage, read_write> partials: array<vec4f>;
@group(0) @binding(7) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    // All of the ledger before the first branch, where one load serves all lanes of a CPU.
    let forms = ledger.forms != 0u;
    let slot = ledger.slot;
    let columns = ledger.columns;
    let chunk = linear_group(group, groups);
    let first = chunk * CHUNK + lane;
    var residual: array<vec4f, ROUNDS>;
    var change: array<vec4f, ROUNDS>;
    for (var round = 0u; round < ROUNDS; round++) {
        let i = first + round * WG_SIZE;
        residual[round] = vec4f();
        change[round] = vec4f();
        if i < params.quads {
            let now = live[i];
            residual[round] = bitcast<vec4f>(now) - x[i];
            if forms {
                change[round] = form_column(slot, i, residual[round], bitcast<vec4f>(now));
            }
            f[i] = residual[round];
            g[i] = now;
        }
    }
    if !forms {
        return;
    }
    for (var pair = 0u; 2u * pair < params.memory; pair++) {
        var sums = vec4f();
        for (var round = 0u; round < ROUNDS; round++) {
            let i = first + round * WG_SIZE;
            if i < params.quads {
                sums += vec4f(products(2u * pair, slot, columns, i, change[round], residual[round]),
                              products(2u * pair + 1u, slot, columns, i, change[round], residual[round]));
            }
        }
        let total = workgroup_sum(sums, lane);
        if lane == 0u && chunk * CHUNK < params.quads {
            partials[pair * params.chunks + params.offset + chunk] = total;
        }
    }
}

// Stores dF and dG in column `slot`; returns dF as it was stored.
fn form_column(slot: u32, i: u32, residual: vec4f, now: vec4f) -> vec4f {
    let stored = pack(residual - f[i]);
    history[slot * params.quads + i] = stored;
    history[(params.memory + slot) * params.quads + i] = pack(now - bitcast<vec4f>(g[i]));
    return unpack(stored);
}

// ( <dF_column, change>, <dF_column, residual> ) in one vec4; the newest column is not read back.
fn products(column: u32, slot: u32, columns: u32, i: u32, change: vec4f, residual: vec4f) -> vec2f {
    if column >= columns {
        return vec2f();
    }
    var other = change;
    if column != slot {
        other = unpack(history[column * params.quads + i]);
    }
    return vec2f(dot(other, change), dot(other, residual));
}
