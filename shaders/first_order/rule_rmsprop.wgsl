// RMSProp (Tieleman and Hinton 2012): s = beta s + (1 - beta) g^2, move = rate g/(sqrt(s) + epsilon). One row: s.
fn advance(now: Clock, i: u32, g: vec4f) -> vec4f {
    let s = blended(i, now.blend_second, g * g);
    return now.rate * g / (sqrt(s) + now.epsilon);
}
