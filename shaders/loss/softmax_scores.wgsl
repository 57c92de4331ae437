// loss/softmax_scores: cross-entropy and accuracy of logits P + b, as partial sums over samples.
//
//   cost = log(sum_j exp(v_j)) - v_label     hit = 1 where the largest logit is the label's, the lower index on ties
//   partials[offset + g] = ( sum of cost, sum of hits, 0, 0 ) over the samples of workgroup g
//
// P: samples x classes, `quads` vec4s a sample; b: classes; labels: one u32 per sample.
// One lane owns one sample; a workgroup owns WG_SIZE of them. Oracle: reference::loss::softmax_scores.
#import "shared/index.wgsl"
#import "shared/reduce_tree.wgsl"

const WG_SIZE: u32 = 64u; // @spec

struct Params {
    quads: u32,
    samples: u32,
    classes: u32,
    offset: u32,
}

@group(0) @binding(0) var<storage, read> product: array<vec4f>;
@group(0) @binding(1) var<storage, read> bias: array<vec4f>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
@group(0) @binding(3) var<storage, read_write> partials: array<vec4f>;
@group(0) @binding(4) var<uniform> params: Params;

fn logits(sample: u32, quad: u32) -> vec4f {
    return product[sample * params.quads + quad] + bias[quad];
}

// Four flags per quad: which lanes of it are classes and not padding.
fn is_class(quad: u32) -> vec4<bool> {
    return quad * 4u + vec4u(0u, 1u, 2u, 3u) < vec4u(params.classes);
}

fn scores(sample: u32) -> vec4f {
    let label = labels[sample];
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
    let cost = log(dot(sum, vec4f(1.0))) + (best - label_logit);
    return vec4f(cost, select(0.0, 1.0, best_class == label), 0.0, 0.0);
}

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let chunk = linear_group(group, groups);
    let sample = chunk * WG_SIZE + lane;
    var value = vec4f();
    if sample < params.samples {
        value = scores(sample);
    }
    let total = workgroup_sum(value, lane);
    if lane == 0u && chunk * WG_SIZE < params.samples {
        partials[params.offset + chunk] = total;
    }
}
