// One sample's classes, for the z-steps of the last layer: CLASS_QUADS vec4s in the registers of each lane that shares
// the sample, the padding excluded from maxima and sums. How many lanes share it, and what they add up, is said in
// dladmm/classes_in_*. The importing kernel declares `product`, `bias`, `dual`, `z`, `control` and
// `params { quads, samples, classes }`; dladmm/write_z is for those that change z.
#import "dladmm/classes_in_lane.wgsl"

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
fn scaled_centre(sample: u32, lane: u32) -> Classes {
    var c: Classes;
    for (var k = 0u; k < CLASS_QUADS; k++) {
        let quad = quad_of(k, lane);
        if quad < params.quads {
            let i = sample * params.quads + quad;
            c[k] = fma(vec4f(control.rho), product[i] + bias[quad], -dual[i]);
        }
    }
    return c;
}

fn read_z(sample: u32, lane: u32) -> Classes {
    var point: Classes;
    for (var k = 0u; k < CLASS_QUADS; k++) {
        let quad = quad_of(k, lane);
        if quad < params.quads {
            point[k] = z[sample * params.quads + quad];
        }
    }
    return point;
}

// The label as a one-hot vec4 of the given quad.
fn one_hot(label: u32, quad: u32) -> vec4f {
    return select(vec4f(), vec4f(1.0), quad * 4u + vec4u(0u, 1u, 2u, 3u) == vec4u(label));
}

// softmax(z) = `powers` `scale`, left as a product for the multiply-adds that take it up: which of several additions a
// compiler joins a product to is its own affair, and no longer the same once operands share a buffer.
struct Softmax {
    powers: Classes,
    scale: f32,
}

fn softmax(z: Classes, lane: u32) -> Softmax {
    var v = z;
    var top = vec4f(-3.4e38);
    for (var k = 0u; k < CLASS_QUADS; k++) {
        top = max(top, select(vec4f(-3.4e38), v[k], is_class(quad_of(k, lane))));
    }
    let shift = largest(greatest(top, lane));
    var sum = vec4f();
    for (var k = 0u; k < CLASS_QUADS; k++) {
        v[k] = select(vec4f(), exp(v[k] - shift), is_class(quad_of(k, lane)));
        sum += v[k];
    }
    return Softmax(v, 1.0 / dot(total(sum, lane), vec4f(1.0)));
}
