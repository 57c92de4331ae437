// Nesterov's momentum as Sutskever et al. 2013 write it: v = mu v + g, move = rate (g + mu v). One row of state: v.
fn advance(i: u32, g: vec4f) -> vec4f {
    let v = state[i] + fma(vec4f(-clock.blend_first), state[i], g);
    state[i] = v;
    return clock.rate * (v + fma(vec4f(-clock.blend_first), v, g));
}
