// AdaGrad, RMSProp: the root of the sum or mean of squares, the only row of their state.
fn divisor(i: u32) -> vec4f {
    return sqrt(state[i]);
}
