// linalg/transpose: y = x^T.
//
// x: rows x columns, y: columns x rows, their rows padded with zeros to `x_quads` and `y_quads` vec4s. A workgroup owns a
// block of SIDE x SIDE, so that memory is read and written in whole rows of it; it turns in workgroup memory, whose rows
// are one longer, so that neither way falls on one bank. One lane moves one vec4 each way.
// Oracle: reference::linalg::transpose.
#import "shared/index.wgsl"

const WG_SIZE: u32 = 256u; // @spec
const SIDE: u32 = 32u;
const QUADS: u32 = 8u; // of a row of the block

struct Params {
    rows: u32,
    columns: u32,
    x_quads: u32,
    y_quads: u32,
    blocks: u32,  // beside each other in x
}

@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(2) var<uniform> params: Params;

var<workgroup> block: array<f32, SIDE * (SIDE + 1u)>;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let index = linear_group(group, groups);
    let first_row = index / params.blocks * SIDE;
    let first_column = index % params.blocks * SIDE;
    let line = lane / QUADS;
    let quad = lane % QUADS;
    let x_row = first_row + line;
    let x_quad = first_column / 4u + quad;
    var value = vec4f();
    if x_row < params.rows && x_quad < params.x_quads {
        value = x[x_row * params.x_quads + x_quad];
    }
    for (var k = 0u; k < 4u; k++) {
        block[(4u * quad + k) * (SIDE + 1u) + line] = value[k];
    }
    workgroupBarrier();
    let y_row = first_column + line;
    let y_quad = first_row / 4u + quad;
    let start = line * (SIDE + 1u) + 4u * quad;
    if y_row < params.columns && y_quad < params.y_quads {
        y[y_row * params.y_quads + y_quad] =
            vec4f(block[start], block[start + 1u], block[start + 2u], block[start + 3u]);
    }
}
