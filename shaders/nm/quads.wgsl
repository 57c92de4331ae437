// Groups of a multiple of four weights as numbers: their units are vec4s.
#import "nm/top_quads.wgsl"

alias Unit = vec4f;

// Where group i of a chunk's matrix begins, in units: rows of such groups have no padding.
fn unit_of(chunk: Chunk, i: u32) -> u32 {
    return i * UNITS;
}

fn magnitude(x: Unit) -> Bits {
    return bitcast<vec4u>(x) & vec4u(0x7fffffffu);
}

// How many of a unit's weights are infinite or NaN.
fn not_finite(size: Bits) -> f32 {
    return dot(select(vec4f(), vec4f(1.0), size >= vec4u(0x7f800000u)), vec4f(1.0));
}

fn square(x: Unit) -> f32 {
    return dot(x, x);
}
