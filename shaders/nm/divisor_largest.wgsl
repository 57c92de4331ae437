// Adamax: the running maximum, which is in the place of a root.
fn divisor(i: u32) -> vec4f {
    return state[params.quads + i];
}
