// badm/step: one step of BADM over all parameters and all sub-batches at once, where the clock lets it (Wang, Zhou, Li
// 2024, equations 5, 4b, 6 and 7 with the local parameters eliminated).
//
//   pi' = r pi - (1 - r) g_n
//   m'  = max(beta m + (1 - beta) h^2, 1e-30),   h = pi', or g_n where MOMENT says so
//   w   = w + sum over n, ascending, of scale_n ((pi' - pi) + pi'/(sqrt(k_n m') + epsilon)),   scale_n = c_n/sigma
//
// The local parameters w_n, and with them the paper's pi' = pi + sigma (w_n - w), never exist: in f32 that difference
// cancels. pi' - pi is of what is stored, so that the sum over steps telescopes and nothing that storage rounds away is
// lost. Without a second moment (MOMENT = OFF) the last term is pi' itself, and m is kept but not used.
//
// gradients, pi, m: a row of `quads` vec4s for each sub-batch, those of pi and m from `row` on, of which `columns` elements
// are parameters; w: one such row, read and written once. One lane owns one vec4 of w and those of each row behind it.
// Oracle: reference::badm::step.
#import "shared/index.wgsl"
#import "badm/state_f32.wgsl"

const WG_SIZE: u32 = 256u; // @spec

@group(0) @binding(0) var<storage, read> gradients: array<vec4f>;
@group(0) @binding(1) var<storage, read> clock: Clock;
@group(0) @binding(2) var<storage, read_write> pi: array<Stored>;
@group(0) @binding(3) var<storage, read_write> m: array<Stored>;
@group(0) @binding(4) var<storage, read_write> w: array<vec4f>;
@group(0) @binding(5) var<uniform> params: Params;

#import "badm/with_change.wgsl"

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_group(group, groups) * WG_SIZE + lane;
    let now = read_clock();
    if clock.verdict.go == 0u || i >= params.quads {
        return;
    }
    var change = vec4f();
    for (var n = 0u; n < params.sub_batches; n++) {
        change = with_change(change, n, gradients[n * params.quads + i], i, now, clock.slots[params.first + n]);
    }
    w[i] += change;
}
