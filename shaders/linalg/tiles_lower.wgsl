// linalg/tiles_lower: only the tiles that reach the diagonal or lie below it are computed.

fn tile_wanted(first_row: u32, first_column: u32) -> bool {
    return first_column < first_row + TILE_ROWS;
}
