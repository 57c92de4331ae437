// What badm/clock decides for all parameters of a step. The host knows the words by their order
// (kernels::badm::CLOCK_HEAD, SLOT_LENGTH).
struct Slot {
    steps: u32,      // t_s: steps in which the slot took part
    correction: f32, // k of the second moment
    scale: f32,      // c_n/sigma times the schedule's factor
}

struct Clock {
    verdict: Verdict,
    keep: f32,       // r = rho/(rho + sigma)
    turn: f32,       // 1 - r
    blend: f32,      // 1 - beta
    epsilon: f32,
    seed: u32,       // of stochastic rounding
    slots: array<Slot>,
}
