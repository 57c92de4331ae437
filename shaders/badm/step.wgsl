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
#import "shared/feature.wgsl"
#import "optimizer/verdict.wgsl"
#import "badm/step_clock.wgsl"
#import "shared/random.wgsl"
#import "badm/state_f32.wgsl"

const WG_SIZE: u32 = 256u; // @spec
const MOMENT: u32 = 0u; // @spec

const DUAL: u32 = 0u;
const GRADIENT: u32 = 1u;
const OFF: u32 = 2u;

// Keeps a root away from zero; too small to be seen beside any gradient that f32 can square.
const FLOOR: f32 = 1e-30;

struct Params {
    quads: u32,
    columns: u32,
    sub_batches: u32,
    first: u32,
    row: u32,
}

@group(0) @binding(0) var<storage, read> gradients: array<vec4f>;
@group(0) @binding(1) var<storage, read> clock: Clock;
@group(0) @binding(2) var<storage, read_write> pi: array<Stored>;
@group(0) @binding(3) var<storage, read_write> m: array<Stored>;
@group(0) @binding(4) var<storage, read_write> w: array<vec4f>;
@group(0) @binding(5) var<uniform> params: Params;

// What all parameters of all sub-batches share of the clock.
struct Now {
    keep: f32,
    turn: f32,
    blend: f32,
    epsilon: f32,
    seed: u32,
    steps: u32,
}

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_group(group, groups) * WG_SIZE + lane;
    let now = Now(clock.keep, clock.turn, clock.blend, clock.epsilon, clock.seed, clock.verdict.steps);
    if clock.verdict.go == 0u || i >= params.quads {
        return;
    }
    var change = vec4f();
    for (var n = 0u; n < params.sub_batches; n++) {
        let s = params.first + n;
        let slot = clock.slots[s];
        let random = random_words(now.seed, now.steps, s, i);
        let at = (params.row + n) * params.quads + i;
        let part = moved(n * params.quads + i, at, i, now, slot.correction, random);
        change = fma(vec4f(slot.scale), part, change);
    }
    w[i] += change;
}

// Updates one vec4 of a sub-batch's dual and second moment, at `at`, by that of its gradient; returns what it adds to w,
// but for its scale.
fn moved(gradient: u32, at: u32, i: u32, now: Now, correction: f32, random: vec4u) -> vec4f {
    let g = gradients[gradient];
    let before = unpack(pi[at]);
    let dual = fma(vec4f(now.keep), before, -now.turn * g);
    let stored = pack(dual, random & vec4u(0xffffu));
    pi[at] = stored;

    let held = unpack_moment(m[at]);
    let h = select(dual, g, MOMENT == GRADIENT);
    let moment = max(fma(vec4f(now.blend), h * h - held, held), vec4f(FLOOR));
    m[at] = pack_moment(select(vec4f(), moment, is_feature(i, params.columns)), random >> vec4u(16u));

    let size = sqrt(correction * moment) + now.epsilon;
    return (unpack(stored) - before) + select(dual / size, dual, MOMENT == OFF);
}
