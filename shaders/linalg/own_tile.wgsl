// linalg/own_tile: which tile of the output is a workgroup's. All tile files begin with it.
//
// A tile has TILE_ROWS x TILE_COLUMNS elements, which the tile file says. The order of the tiles (`tile_at`) and which of them
// are wanted (`tile_wanted`) is the kernel's: most take those of linalg/tiles_all.
#import "shared/index.wgsl"

struct Tile {
    row: u32, // of tiles, as the column
    column: u32,
    number: u32, // row by row
    is_wanted: bool,
}

fn own_tile(group: vec3u, groups: vec3u) -> Tile {
    let index = linear_group(group, groups);
    let row_tiles = (params.rows + TILE_ROWS - 1u) / TILE_ROWS;
    let column_tiles = (params.columns + TILE_COLUMNS - 1u) / TILE_COLUMNS;
    if index >= row_tiles * column_tiles {
        return Tile();
    }
    let place = tile_at(index, row_tiles, column_tiles);
    let is_wanted = tile_wanted(place.x * TILE_ROWS, place.y * TILE_COLUMNS);
    return Tile(place.x, place.y, place.x * column_tiles + place.y, is_wanted);
}
