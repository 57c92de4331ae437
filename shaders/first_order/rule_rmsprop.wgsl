// RMSProp (Tieleman and Hinton 2012): s = beta s + (1 - beta) g^2, move = rate g/(sqrt(s) + epsilon). One row: s.
fn advance(i: u32, g: vec4f) -> vec4f {
    let s = blended(i, clock.blend_second, g * g);
    return clock.rate * g / (sqrt(s) + clock.epsilon);
}
