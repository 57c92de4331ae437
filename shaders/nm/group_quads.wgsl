// A group of a multiple of four weights where it is stored: in quads of its own, and rows of such groups have no padding.
#import "nm/top_quads.wgsl"
#import "nm/quad_32.wgsl"

alias Stored = Quad;

// The bits of a unit of the group whose first weight is at `at`.
fn unit(at: u32, i: u32) -> Bits {
    return split(w[at / 4u + i]);
}

// The first place of a unit with this many bits or more; UNIT if there is none.
fn first_from(size: Bits, least: u32) -> u32 {
    let places = select(vec4u(UNIT), vec4u(0u, 1u, 2u, 3u), size >= vec4u(least));
    return min(min(places.x, places.y), min(places.z, places.w));
}

// Writes the group with nothing but what it keeps.
fn write_kept(at: u32, kept: u32, next: u32) {
    for (var i = 0u; i < UNITS; i++) {
        projected[at / 4u + i] = join(select(vec4u(), unit(at, i), is_kept(kept, i)));
    }
}

fn clear_padding(first: u32, end: u32) {
}
