// One sample's classes in registers, for the kernels of the last layer: CLASS_QUADS vec4s, the padding excluded from
// maxima and sums. The importing kernel declares `product`, `bias`, `dual`, `labels`, `control` and
// `params { quads, samples, classes }`.
const CLASS_QUADS: u32 = 3u; // @spec

alias Classes = array<vec4f, CLASS_QUADS>;

fn is_class(quad: u32) -> vec4<bool> {
    return quad * 4u + vec4u(0u, 1u, 2u, 3u) < vec4u(params.classes);
}

fn largest(v: vec4f) -> f32 {
    return max(max(v.x, v.y), max(v.z, v.w));
}

// rho c = rho (P + b) - u, c being the point that the proximal step of the last layer stays close to. Times rho, because
// u / rho is huge where rho is small and would drown the rest.
fn scaled_centre(sample: u32) -> Classes {
    var c: Classes;
    for (var quad = 0u; quad < CLASS_QUADS; quad++) {
        let i = sample * params.quads + quad;
        c[quad] = control.rho * (product[i] + bias[quad]) - dual[i];
    }
    return c;
}

// The label as a one-hot vec4 of the given quad.
fn one_hot(label: u32, quad: u32) -> vec4f {
    return select(vec4f(), vec4f(1.0), quad * 4u + vec4u(0u, 1u, 2u, 3u) == vec4u(label));
}

fn softmax(z: Classes) -> Classes {
    var v = z;
    var top = vec4f(-3.4e38);
    for (var quad = 0u; quad < CLASS_QUADS; quad++) {
        top = max(top, select(vec4f(-3.4e38), v[quad], is_class(quad)));
    }
    let shift = largest(top);
    var sum = vec4f();
    for (var quad = 0u; quad < CLASS_QUADS; quad++) {
        v[quad] = select(vec4f(), exp(v[quad] - shift), is_class(quad));
        sum += v[quad];
    }
    let scale = 1.0 / dot(sum, vec4f(1.0));
    for (var quad = 0u; quad < CLASS_QUADS; quad++) {
        v[quad] *= scale;
    }
    return v;
}
