// linalg/tiles_lower: only the tiles that reach the diagonal or lie below it are computed.
//
// They are walked as in linalg/tile_order, but in bands that end with the last tile that one of their rows needs. The host
// dispatches no more workgroups than these bands have tiles: where each core takes an equal share of the workgroups, one after
// another, the last one would otherwise get most of the work.

const BAND_ROWS: u32 = 8u; // of tiles; the host counts with it, too

// How many tiles a band has side by side that ends before row `end` of tiles, and before the last one.
fn width(end: u32) -> u32 {
    return (end * TILE_ROWS + TILE_COLUMNS - 1u) / TILE_COLUMNS;
}

fn tile_at(index: u32, row_tiles: u32, column_tiles: u32) -> vec2u {
    var first = 0u;
    var height = min(BAND_ROWS, row_tiles);
    var within = index;
    while first + height < row_tiles && within >= height * width(first + height) {
        within -= height * width(first + height);
        first += height;
        height = min(BAND_ROWS, row_tiles - first);
    }
    return vec2u(first + within % height, within / height);
}

fn tile_wanted(first_row: u32, first_column: u32) -> bool {
    return first_column < first_row + TILE_ROWS;
}
