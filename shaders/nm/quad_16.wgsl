// Four weights of 16 bits side by side, the first of each two in the lower half of a word.
alias Quad = vec2u;

fn join(weights: vec4u) -> Quad {
    return weights.xz | (weights.yw << vec2u(16u));
}

fn split(quad: Quad) -> vec4u {
    let low = quad & vec2u(0xffffu);
    let high = quad >> vec2u(16u);
    return vec4u(low.x, high.x, low.y, high.y);
}
