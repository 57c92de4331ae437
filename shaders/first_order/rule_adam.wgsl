// Adam (Kingma and Ba 2015, algorithm 1) and, by the clock's decoupled decay, AdamW (Loshchilov and Hutter 2019).
//
//   m = beta_1 m + (1 - beta_1) g,   v = beta_2 v + (1 - beta_2) g^2
//   move = scale_first m/(scale_second sqrt(v) + epsilon)
//
// Rows of state: m, v.
fn advance(now: Clock, i: u32, g: vec4f) -> vec4f {
    let m = blended(i, now.blend_first, g);
    let v = blended(params.quads + i, now.blend_second, g * g);
    return now.scale_first * m / fma(vec4f(now.scale_second), sqrt(v), vec4f(now.epsilon));
}
