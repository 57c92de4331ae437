// A group of a multiple of four weights where it is stored: in quads of its own, and rows of such groups have no padding.
#import "nm/top_quads.wgsl"
#import "nm/quad_32.wgsl"

alias Stored = Quad;

// Finds what the group whose first weight is at `at` keeps, and writes it: no other group has a part in its quads.
fn take(at: u32, odd: ptr<function, u32>) -> u32 {
    var quads: array<Bits, UNITS>;
    var sizes: array<Bits, UNITS>;
    for (var i = 0u; i < UNITS; i++) {
        quads[i] = split(w[at / 4u + i]);
        sizes[i] = quads[i] & Bits(ALL_BITS >> 1u);
        let places = select(Bits(), ~(at + UNIT * i + vec4u(0u, 1u, 2u, 3u)), sizes[i] >= Bits(INFINITE));
        *odd = max(*odd, max(max(places.x, places.y), max(places.z, places.w)));
    }
    let kept = top(&sizes, params.keep);
    for (var i = 0u; i < UNITS; i++) {
        projected[at / 4u + i] = join(select(Bits(), quads[i], is_kept(kept, i)));
    }
    return kept;
}

fn finish(at: u32, kept: u32, next: u32) {
}

fn clear_padding(first: u32, end: u32) {
}
