// The penalty rho/2 |w - t|^2 as a proximal step after the optimizer's own: w = w + p (t - w), p = gamma/(1 + gamma), where
// gamma is constant (pull) and, where decoupled, grows with the learning rate.
fn with_penalty(entry: u32, g: vec4f, held: vec4f, t: vec4f) -> vec4f {
    return g;
}

fn after_step(now: Clock, entry: u32, w: vec4f, held: vec4f, t: vec4f) -> vec4f {
    let gamma = fma(now.rate, settings[entry].rho, settings[entry].pull);
    return fma(vec4f(gamma / (1.0 + gamma)), t - w, w);
}
