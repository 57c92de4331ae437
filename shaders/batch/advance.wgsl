// batch/advance: moves on by a batch; past the last sample a new epoch begins.
//
//   position = position + samples, or 0 with epoch = epoch + turn where that reaches count        batches = batches + 1
//
// turn: 1 for an order of each epoch's own, 0 for the same batches in every epoch.
//
// One lane does it all. Oracle: reference::batch::advance.
#import "batch/cursor.wgsl"

struct Params {
    samples: u32,
    count: u32,
    turn: u32,
}

@group(0) @binding(0) var<storage, read_write> cursor: Cursor;
@group(0) @binding(1) var<uniform> params: Params;

@compute @workgroup_size(1)
fn main() {
    cursor.batches += 1u;
    cursor.position += params.samples;
    if cursor.position >= params.count {
        cursor.position = 0u;
        cursor.epoch += params.turn;
    }
}
