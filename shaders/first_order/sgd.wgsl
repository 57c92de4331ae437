// first_order/sgd: w = w - decoupled w - rate (g + coupled w), where the clock lets it: descent without a state.
//
// w, gradient: `quads` vec4s in all; one lane owns one vec4. Oracle: reference::first_order::sgd.
#import "shared/index.wgsl"
#import "optimizer/verdict.wgsl"
#import "first_order/step_clock.wgsl"

const WG_SIZE: u32 = 256u; // @spec

struct Params {
    quads: u32,
}

@group(0) @binding(0) var<storage, read> gradient: array<vec4f>;
@group(0) @binding(1) var<storage, read> clock: Clock;
@group(0) @binding(2) var<storage, read_write> w: array<vec4f>;
@group(0) @binding(3) var<uniform> params: Params;

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
    w[i] = held - fma(vec4f(now.decoupled), held, now.rate * g);
}
