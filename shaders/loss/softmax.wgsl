// The softmax of a sample's logits P + b, and how it is scored; for the kernels of this family.
//
// The importing file provides `product`, `bias` and `params` with `quads` and `classes`.

struct Softmax {
    largest: f32,
    // Of exp(v - largest), over the classes.
    sum: f32,
    // log(sum_j exp(v_j)) - v_label
    cost: f32,
    // 1 where the largest logit is the label's, the lower index on ties.
    hit: f32,
}

fn logits(sample: u32, quad: u32) -> vec4f {
    return product[sample * params.quads + quad] + bias[quad];
}

// Four flags per quad: which lanes of it are classes and not padding.
fn is_class(quad: u32) -> vec4<bool> {
    return quad * 4u + vec4u(0u, 1u, 2u, 3u) < vec4u(params.classes);
}

fn softmax(sample: u32, label: u32) -> Softmax {
    var best = -3.4e38;
    var best_class = 0u;
    var label_logit = 0.0;
    for (var quad = 0u; quad < params.quads; quad++) {
        let values = logits(sample, quad);
        for (var k = 0u; k < 4u; k++) {
            let class_index = quad * 4u + k;
            if class_index < params.classes && values[k] > best {
                best = values[k];
                best_class = class_index;
            }
            if class_index == label {
                label_logit = values[k];
            }
        }
    }
    var sum = vec4f();
    for (var quad = 0u; quad < params.quads; quad++) {
        sum += select(vec4f(), exp(logits(sample, quad) - best), is_class(quad));
    }
    let total = dot(sum, vec4f(1.0));
    return Softmax(best, total, log(total) + (best - label_logit), select(0.0, 1.0, best_class == label));
}
