// linalg/tile_order: which tile of the output a workgroup computes.
//
// Workgroups that run at the same time should share operands in cache. The tiles are walked in bands of BAND tile
// columns; inside a band from left to right, then down. BAND = 1 walks down one tile column after another, which
// keeps its part of op(B) in cache; a BAND wider than the output walks row after row, which writes whole rows
// together and pays where K is short. The tile file declares BAND.

fn tile_at(index: u32, row_tiles: u32, column_tiles: u32) -> vec2u {
    let band = index / (BAND * row_tiles);
    let within = index - band * BAND * row_tiles;
    // The last band may be narrower.
    let width = min(BAND, column_tiles - band * BAND);
    return vec2u(within / width, band * BAND + within % width);
}
