// Nesterov's momentum as Sutskever et al. 2013 write it: v = mu v + g, move = rate (g + mu v). One row of state: v.
fn advance(now: Clock, i: u32, g: vec4f) -> vec4f {
    let v = state[i] + fma(vec4f(-now.blend_first), state[i], g);
    state[i] = v;
    return now.rate * (v + fma(vec4f(-now.blend_first), v, g));
}
