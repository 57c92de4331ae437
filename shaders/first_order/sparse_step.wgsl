// first_order/sparse_step: first_order/step with the penalty of N:M ADMM in it, for rows of parameters of which some are to
// become sparse.
//
//   g = gradient + coupled w, and what a coupled penalty adds
//   (state, move) by the method's rule, in shaders/first_order/rule_*.wgsl
//   w = w - decoupled w - move, then what the penalty makes of it        shaders/nm/penalty_*.wgsl
//
// w, gradient: one row of `quads` vec4s, of which `columns` elements are parameters; state: as many rows as the rule
// keeps. t holds T = Z - U of the sparse parameters alone, cut as w is into runs of 32 vec4s: places[k] has the run of t that
// belongs to run k of w, or NONE where that is dense, and which of the settings are its matrix's. That is all that dense
// parameters read. One lane owns one vec4.
// Oracle: reference::first_order::sparse_step.
#import "shared/index.wgsl"
#import "optimizer/verdict.wgsl"
#import "first_order/step_clock.wgsl"
#import "nm/settings.wgsl"
#import "nm/places.wgsl"

const WG_SIZE: u32 = 256u; // @spec

struct Params {
    quads: u32,
    columns: u32,
}

@group(0) @binding(0) var<storage, read> gradient: array<vec4f>;
@group(0) @binding(1) var<storage, read> clock: Clock;
@group(0) @binding(2) var<storage, read> settings: array<Settings>;
@group(0) @binding(3) var<storage, read> places: array<Place>;
@group(0) @binding(4) var<storage, read> t: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> state: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> w: array<vec4f>;
@group(0) @binding(7) var<uniform> params: Params;

#import "first_order/rule_adam.wgsl"
#import "nm/penalty_pull.wgsl"
#import "first_order/sparse_update.wgsl"

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_group(group, groups) * WG_SIZE + lane;
    let now = clock;
    if now.verdict.go == 0u || i >= params.quads {
        return;
    }
    w[i] = updated(now, i);
}

// One row's element of the state moved towards `goal` by `share` of the way.
fn blended(at: u32, share: f32, goal: vec4f) -> vec4f {
    let before = state[at];
    let after = fma(vec4f(share), goal - before, before);
    state[at] = after;
    return after;
}
