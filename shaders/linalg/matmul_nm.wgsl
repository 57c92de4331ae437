// linalg/matmul_nm: C = A W^T with W in the packed form of an N:M matrix, unpacked in registers on the way to a tile.
//
//   product[s, r] = sum over columns k, ascending, of left[s, k] W[r, k]      W[r, k] = 0 where not kept
//
// The bits are those of linalg/matmul by the unpacked matrix, NaN where a zero meets infinity among them. The host may cut
// K into parts; each but the first goes on from the sums that are there.
//
// Shapes: C is rows x columns, rows of A by rows of W; `left` is rows x inner, its stored rows padded with zeros to whole
// vec4s; values, places: as nm/pack leaves them. The padding of C comes out zero. What a workgroup and a lane own is said
// in the tile file. Oracle: reference::linalg::matmul_nm.
#import "linalg/left_rows.wgsl"
#import "linalg/right_packed.wgsl"
#import "linalg/output_rows.wgsl"
#import "linalg/tiles_all.wgsl"
#import "linalg/tile_shared.wgsl"

struct Params {
    rows: u32,
    columns: u32,
    inner: u32,
    first: u32,         // quads of K before this part
    left_stride: u32,   // quads per stored row
    product_stride: u32,
    keep: u32,
    width: u32,         // weights of a group
    bits: u32,
    value_words: u32,
    place_words: u32,
}

@group(0) @binding(0) var<storage, read> left: array<vec4f>;
@group(0) @binding(1) var<storage, read> values: array<u32>;
@group(0) @binding(2) var<storage, read> places: array<u32>;
@group(0) @binding(3) var<storage, read_write> product: array<vec4f>;
@group(0) @binding(4) var<uniform> params: Params;

fn start(row: u32, column_quad: u32) -> vec4f {
    if params.first == 0u {
        return vec4f();
    }
    return product[row * params.product_stride + column_quad];
}

fn finish(row: u32, column_quad: u32, value: vec4f) -> vec4f {
    product[row * params.product_stride + column_quad] = value;
    return vec4f();
}

fn finish_group(tile: u32, sum: f32) {}
