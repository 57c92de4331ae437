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
