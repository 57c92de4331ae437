// AdaGrad (Duchi et al. 2011): s = s + g^2, move = rate g/(sqrt(s) + epsilon). One row of state: s.
fn advance(i: u32, g: vec4f) -> vec4f {
    let s = fma(g, g, state[i]);
    state[i] = s;
    return clock.rate * g / (sqrt(s) + clock.epsilon);
}
