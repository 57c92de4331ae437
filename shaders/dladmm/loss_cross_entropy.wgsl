// Softmax cross-entropy of the last layer's z, R = -log softmax(z)_y, y one class per sample. The importing kernel
// declares `z`, `targets` and `params { quads, classes }`.
alias Target = u32;

// The largest logit and the sum of exponentials relative to it, in one pass: the sum so far is rescaled when a larger
// logit turns up.
fn normaliser(sample: u32) -> vec2f {
    let first = sample * params.quads;
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
    return vec2f(shift, exponentials);
}

fn loss(sample: u32) -> f32 {
    let label = targets[sample];
    let label_quad = z[sample * params.quads + label / 4u];
    let scale = normaliser(sample);
    return log(scale.y) + (scale.x - label_quad[label % 4u]);
}

// -dR/dz = y - softmax(z) in one quad, with the sample's normaliser; zero in the padding.
fn descent(sample: u32, quad: u32, scale: vec2f) -> vec4f {
    let class_of = quad * 4u + vec4u(0u, 1u, 2u, 3u);
    let p = exp(z[sample * params.quads + quad] - scale.x) / scale.y;
    let y = select(vec4f(), vec4f(1.0), class_of == vec4u(targets[sample]));
    return select(vec4f(), y - p, class_of < vec4u(params.classes));
}
