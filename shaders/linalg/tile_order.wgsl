// linalg/tile_order: which tile of the output a workgroup computes.
//
// Workgroups that run at the same time should share operands in cache. The tiles are walked in bands of band_width()
// tile columns, which the tile file provides; inside a band from left to right, then down. A width of 1 walks down one
// tile column after another, which keeps its part of op(B) in cache; one wider than the output walks row after row,
// which writes whole rows together and pays where K is short.

fn tile_at(index: u32, row_tiles: u32, column_tiles: u32) -> vec2u {
    let most = band_width();
    let band = index / (most * row_tiles);
    let within = index - band * most * row_tiles;
    // The last band may be narrower.
    let width = min(most, column_tiles - band * most);
    return vec2u(within / width, band * most + within % width);
}
