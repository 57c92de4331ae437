// Squared loss of the last layer's z, R = |z - y|^2 / 2, y samples x outputs like z. The importing kernel declares `z`,
// `targets` and `params { quads, classes }`.
alias Target = vec4f;

fn loss(sample: u32) -> f32 {
    var sum = 0.0;
    for (var quad = 0u; quad < params.quads; quad++) {
        let gap = z[sample * params.quads + quad] - targets[sample * params.quads + quad];
        sum += dot(gap, gap);
    }
    return 0.5 * sum;
}

fn normaliser(sample: u32) -> vec2f {
    return vec2f();
}

// -dR/dz = y - z in one quad.
fn descent(sample: u32, quad: u32, scale: vec2f) -> vec4f {
    let i = sample * params.quads + quad;
    return targets[i] - z[i];
}
