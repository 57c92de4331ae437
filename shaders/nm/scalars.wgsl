// Groups of any size as numbers: their units are single weights.
#import "nm/top_scalars.wgsl"

alias Unit = f32;

// Where group i of a chunk's matrix begins, in units.
fn unit_of(chunk: Chunk, i: u32) -> u32 {
    let row = i / chunk.width;
    return row * chunk.stride + (i - row * chunk.width) * UNITS;
}

fn magnitude(x: Unit) -> Bits {
    return bitcast<u32>(x) & 0x7fffffffu;
}

// 1 for a weight that is infinite or NaN.
fn not_finite(size: Bits) -> f32 {
    return select(0.0, 1.0, size >= 0x7f800000u);
}

fn square(x: Unit) -> f32 {
    return x * x;
}
