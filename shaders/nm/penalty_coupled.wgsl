// The penalty rho/2 |w - t|^2 by its gradient, which joins that of the loss before the moments (Holmes et al. 2021).
fn with_penalty(entry: u32, g: vec4f, held: vec4f, t: vec4f) -> vec4f {
    return fma(vec4f(settings[entry].rho), held - t, g);
}

fn after_step(now: Clock, entry: u32, w: vec4f, held: vec4f, t: vec4f) -> vec4f {
    return w;
}
