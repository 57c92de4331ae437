// Momentum (Polyak 1964): v = mu v + g, move = rate v. One row of state: v. mu v is v - (1 - mu) v.
fn advance(now: Clock, i: u32, g: vec4f) -> vec4f {
    let v = state[i] + fma(vec4f(-now.blend_first), state[i], g);
    state[i] = v;
    return now.rate * v;
}
