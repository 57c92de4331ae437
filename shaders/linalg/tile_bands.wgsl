// linalg/tile_bands: the bands of linalg/tile_order where lanes are a loop: a core's cache holds what eight rows of tiles read of
// op(A), and a product with a short K is bound by what it writes.

fn band_height() -> u32 {
    return select(8u, 1u, params.inner <= 256u);
}
