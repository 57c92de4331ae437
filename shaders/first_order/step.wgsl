// first_order/step: one step of a first-order method over all parameters at once, where the clock lets it.
//
//   g = gradient + coupled w
//   (state, move) by the method's rule, in shaders/first_order/rule_*.wgsl
//   w = w - decoupled w - move
//
// w, gradient: one row of `quads` vec4s, of which `columns` elements are parameters; state: as many rows as the rule
// keeps. What all parameters share, bias corrections included, is in the clock: an element costs no power and no
// exponential. One lane owns one vec4. Oracle: reference::first_order::step.
#import "shared/index.wgsl"
#import "optimizer/verdict.wgsl"
#import "first_order/step_clock.wgsl"

const WG_SIZE: u32 = 256u; // @spec

struct Params {
    quads: u32,
    columns: u32,
}

@group(0) @binding(0) var<storage, read> gradient: array<vec4f>;
@group(0) @binding(1) var<storage, read> clock: Clock;
@group(0) @binding(2) var<storage, read_write> state: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> w: array<vec4f>;
@group(0) @binding(4) var<uniform> params: Params;

#import "first_order/rule_adam.wgsl"

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_group(group, groups) * WG_SIZE + lane;
    let now = clock;
    if now.verdict.go == 0u || i >= params.quads {
        return;
    }
    let held = w[i];
    let g = fma(vec4f(now.coupled), held, gradient[i]);
    w[i] = held - fma(vec4f(now.decoupled), held, advance(now, i, g));
}

// One row's element of the state moved towards `goal` by `share` of the way.
fn blended(at: u32, share: f32, goal: vec4f) -> vec4f {
    let before = state[at];
    let after = fma(vec4f(share), goal - before, before);
    state[at] = after;
    return after;
}
