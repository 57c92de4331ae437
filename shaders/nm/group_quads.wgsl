// A group of a multiple of four weights where it is stored: in quads of its own, and rows of such groups have no padding.
#import "nm/top_quads.wgsl"
#import "nm/quad_32.wgsl"

alias Stored = Quad;

// Finds what the group whose first weight is at `at` keeps, and writes it: no other group has a part in its quads.
fn take(at: u32) -> Taken {
    var odd = 0u;
    var quads: array<Bits, UNITS>;
    var sizes: array<Bits, UNITS>;
    for (var i = 0u; i < UNITS; i++) {
        quads[i] = split(w[at / 4u + i]);
        sizes[i] = quads[i] & Bits(ALL_BITS >> 1u);
        odd |= mask_of(sizes[i] >= Bits(INFINITE)) << (UNIT * i);
    }
    let kept = top(&sizes, params.keep);
    for (var i = 0u; i < UNITS; i++) {
        projected[at / 4u + i] = join(select(Bits(), quads[i], is_kept(kept, i)));
    }
    return Taken(kept, odd);
}

fn finish(at: u32, kept: u32, next: u32) {
}

fn clear_padding(first: u32, end: u32) {
}
