// Adam, AdamW, NAdam: the root of the second moment, by its bias correction.
fn divisor(i: u32) -> vec4f {
    return clock.scale_second * sqrt(state[params.quads + i]);
}
