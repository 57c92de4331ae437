// Four weights of 32 bits side by side.
alias Quad = vec4u;

fn join(weights: vec4u) -> Quad {
    return weights;
}

fn split(quad: Quad) -> vec4u {
    return quad;
}
