// linalg/tiles_all: every tile of the output is computed.
#import "linalg/tile_order.wgsl"

fn tile_wanted(first_row: u32, first_column: u32) -> bool {
    return true;
}
