// What first_order/clock decides for all parameters of a step. The host knows the words by their order
// (kernels::first_order::CLOCK_LENGTH). Kernels read it before any lane leaves: while all are there,
// one load serves them all.
struct Clock {
    verdict: Verdict,
    mu_product: f32,     // NAdam: the product of mu_1 to mu_t; 1 before the first step
    rate: f32,
    coupled: f32,        // weight decay that is added to the gradient
    decoupled: f32,      // weight decay times rate, that the parameters shrink by
    blend_first: f32,
    blend_second: f32,
    scale_first: f32,
    scale_second: f32,
    epsilon: f32,
    scale_gradient: f32,
    scale_ahead: f32,
}
