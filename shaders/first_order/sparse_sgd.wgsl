// first_order/sparse_sgd: first_order/sgd with the penalty of N:M ADMM in it, for rows of parameters of which some are to
// become sparse; where those are is told as in first_order/sparse_step.
//
// w, gradient: `quads` vec4s in all; one lane owns one vec4. Oracle: reference::first_order::sparse_sgd.
#import "shared/index.wgsl"
#import "optimizer/verdict.wgsl"
#import "first_order/step_clock.wgsl"
#import "nm/settings.wgsl"
#import "nm/places.wgsl"

const WG_SIZE: u32 = 256u; // @spec

struct Params {
    quads: u32,
}

@group(0) @binding(0) var<storage, read> gradient: array<vec4f>;
@group(0) @binding(1) var<storage, read> clock: Clock;
@group(0) @binding(2) var<storage, read> settings: array<Settings>;
@group(0) @binding(3) var<storage, read> places: array<Place>;
@group(0) @binding(4) var<storage, read> t: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> w: array<vec4f>;
@group(0) @binding(6) var<uniform> params: Params;

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

// How far plain gradient descent moves.
fn advance(now: Clock, i: u32, g: vec4f) -> vec4f {
    return now.rate * g;
}
