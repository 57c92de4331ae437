// batch/advance: moves on by a batch; past the last sample a new epoch begins.
//
//   position = position + samples, or 0 with epoch = epoch + 1 where that reaches count        batches = batches + 1
//
// One lane does it all. Oracle: reference::batch::advance.
#import "batch/cursor.wgsl"

struct Params {
    samples: u32,
    count: u32,
}

@group(0) @binding(0) var<storage, read_write> cursor: Cursor;
@group(0) @binding(1) var<uniform> params: Params;

@compute @workgroup_size(1)
fn main() {
    cursor.batches += 1u;
    cursor.position += params.samples;
    if cursor.position >= params.count {
        cursor.position = 0u;
        cursor.epoch += 1u;
    }
}
