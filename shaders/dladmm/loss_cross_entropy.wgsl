// Softmax cross-entropy of the last layer's z, R = -log softmax(z)_y, y one class per sample. The importing kernel
// declares `z`, `targets` and `params { quads, classes }`.
alias Target = u32;

// log-sum-exp in one pass: the sum so far is rescaled when a larger logit turns up.
fn loss(sample: u32) -> f32 {
    let first = sample * params.quads;
    let label = targets[sample];
    let label_quad = z[first + label / 4u];
    let label_z = label_quad[label % 4u];
    var exponentials = 0.0;
    var shift = -3.4e38;
    for (var quad = 0u; quad < params.quads; quad++) {
        let v = z[first + quad];
        let is_class = quad * 4u + vec4u(0u, 1u, 2u, 3u) < vec4u(params.classes);
        let w = select(vec4f(-3.4e38), v, is_class);
        let top = max(shift, max(max(w.x, w.y), max(w.z, w.w)));
        exponentials = exponentials * exp(shift - top) + dot(select(vec4f(), exp(v - top), is_class), vec4f(1.0));
        shift = top;
    }
    return log(exponentials) + (shift - label_z);
}
