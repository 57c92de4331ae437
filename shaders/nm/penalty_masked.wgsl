// No penalty but the mask itself: a weight stays out where t is 0, and neither its gradient nor its moments see the loss.
// `left` of it is what it keeps, so that 0 is the mask to the letter.
fn with_penalty(entry: u32, g: vec4f, held: vec4f, t: vec4f) -> vec4f {
    return select(g, vec4f(), is_out(t));
}

fn after_step(now: Clock, entry: u32, w: vec4f, held: vec4f, t: vec4f) -> vec4f {
    return select(w, settings[entry].left * held, is_out(t));
}

fn is_out(t: vec4f) -> vec4<bool> {
    return (bitcast<vec4u>(t) & vec4u(0x7fffffffu)) == vec4u();
}
