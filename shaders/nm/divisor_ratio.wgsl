// Adadelta, whose step is the learning rate times a gradient over this.
fn divisor(i: u32) -> vec4f {
    return sqrt(state[i] + clock.epsilon) / sqrt(state[params.quads + i] + clock.epsilon);
}
