// badm/step_apart: badm/step where the gradients of up to three sub-batches are each in a tensor of their own, as automatic
// differentiation leaves them: w is read and written once for all of them.
//
// gradient_0 to gradient_2: one row of `quads` vec4s each, of which the first `sub_batches` are read; all else as in badm/step.
// One lane owns one vec4 of w and those behind it. Oracle: reference::badm::step_apart.
#import "shared/index.wgsl"
#import "badm/state_f32.wgsl"

const WG_SIZE: u32 = 256u; // @spec

@group(0) @binding(0) var<storage, read> gradient_0: array<vec4f>;
@group(0) @binding(1) var<storage, read> gradient_1: array<vec4f>;
@group(0) @binding(2) var<storage, read> gradient_2: array<vec4f>;
@group(0) @binding(3) var<storage, read> clock: Clock;
@group(0) @binding(4) var<storage, read_write> pi: array<Stored>;
@group(0) @binding(5) var<storage, read_write> m: array<Stored>;
@group(0) @binding(6) var<storage, read_write> w: array<vec4f>;
@group(0) @binding(7) var<uniform> params: Params;

#import "badm/with_change.wgsl"

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_group(group, groups) * WG_SIZE + lane;
    let now = read_clock();
    let slot_0 = slot_of(0u);
    let slot_1 = slot_of(1u);
    let slot_2 = slot_of(2u);
    if clock.verdict.go == 0u || i >= params.quads {
        return;
    }
    var change = with_change(vec4f(), 0u, gradient_0[i], i, now, slot_0);
    if params.sub_batches > 1u {
        change = with_change(change, 1u, gradient_1[i], i, now, slot_1);
    }
    if params.sub_batches > 2u {
        change = with_change(change, 2u, gradient_2[i], i, now, slot_2);
    }
    w[i] += change;
}

// That of sub-batch n, or of the last.
fn slot_of(n: u32) -> Slot {
    return clock.slots[params.first + min(n, params.sub_batches - 1u)];
}
