// linalg/tile_order: which tile of the output a workgroup computes.
//
// Workgroups that run at the same time, or one after another, should share operands in cache. The tiles are walked in bands of
// band_height() tile rows, which the tile file provides; inside a band down, then to the right: what the band reads of op(A)
// stays in cache, and each part of op(B) is brought there once a band. A height of 1 walks row after row, which writes whole
// rows together and pays where K is short.

fn tile_at(index: u32, row_tiles: u32, column_tiles: u32) -> vec2u {
    let most = band_height();
    let band = index / (most * column_tiles);
    let within = index - band * most * column_tiles;
    // The last band may be lower.
    let height = min(most, row_tiles - band * most);
    return vec2u(band * most + within % height, within / height);
}
