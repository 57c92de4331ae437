// What one sub-batch does to one vec4 of the parameters, in the kernels that take steps of BADM: their equations are said in
// badm/step. The importing file provides `Stored` with its ways in and out, `clock`, `pi`, `m` and `params`.
#import "shared/feature.wgsl"
#import "optimizer/verdict.wgsl"
#import "badm/step_clock.wgsl"
#import "shared/random.wgsl"

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

// What all parameters of all sub-batches share of the clock, to be read before any lane leaves.
struct Now {
    keep: f32,
    turn: f32,
    blend: f32,
    epsilon: f32,
    seed: u32,
    steps: u32,
}

fn read_clock() -> Now {
    return Now(clock.keep, clock.turn, clock.blend, clock.epsilon, clock.seed, clock.verdict.steps);
}

// Updates vec4 `i` of the dual and the second moment of sub-batch n by that of its gradient; returns `change` with what it
// adds to w.
fn with_change(change: vec4f, n: u32, g: vec4f, i: u32, now: Now, slot: Slot) -> vec4f {
    let random = random_words(now.seed, now.steps, params.first + n, i);
    let at = (params.row + n) * params.quads + i;
    let before = unpack(pi[at]);
    let dual = fma(vec4f(now.keep), before, -now.turn * g);
    let stored = pack(dual, random & vec4u(0xffffu));
    pi[at] = stored;

    let held = unpack_moment(m[at]);
    let h = select(dual, g, MOMENT == GRADIENT);
    let moment = max(fma(vec4f(now.blend), h * h - held, held), vec4f(FLOOR));
    m[at] = pack_moment(select(vec4f(), moment, is_feature(i, params.columns)), random >> vec4u(16u));

    let size = sqrt(slot.correction * moment) + now.epsilon;
    let part = (unpack(stored) - before) + select(dual / size, dual, MOMENT == OFF);
    return fma(vec4f(slot.scale), part, change);
}
