// Adadelta (Zeiler 2012): s = beta s + (1 - beta) g^2, d = sqrt(a + epsilon)/sqrt(s + epsilon) g,
// a = beta a + (1 - beta) d^2, move = rate d. Rows of state: s, a.
fn advance(now: Clock, i: u32, g: vec4f) -> vec4f {
    let s = blended(i, now.blend_second, g * g);
    let at = params.quads + i;
    let d = sqrt(state[at] + now.epsilon) / sqrt(s + now.epsilon) * g;
    blended(at, now.blend_second, d * d);
    return now.rate * d;
}
