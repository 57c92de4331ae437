// AdaGrad (Duchi et al. 2011): s = s + g^2, move = rate g/(sqrt(s) + epsilon). One row of state: s.
fn advance(now: Clock, i: u32, g: vec4f) -> vec4f {
    let s = fma(g, g, state[i]);
    state[i] = s;
    return now.rate * g / (sqrt(s) + now.epsilon);
}
