// batch/gather_sparse: the samples of a batch, as batch/gather draws them, from sparse ones and with all their zeros.
//
//   y[s] = x[pi(position + s)]      pi: the permutation of `count` samples for the seed and the epoch
//
// x: count x features, sample r with the entries starts[r] up to starts[r + 1], each feature once; y: samples x features,
// `stride` elements a sample. A workgroup owns a sample: it clears the row, then puts the entries in.
// Oracle: reference::batch::gather_sparse.
#import "shared/index.wgsl"
#import "batch/cursor.wgsl"
#import "batch/permutation.wgsl"

const WG_SIZE: u32 = 256u; // @spec

struct Params {
    stride: u32,
    samples: u32,
    count: u32,
    side: u32,
}

@group(0) @binding(0) var<storage, read> starts: array<u32>;
@group(0) @binding(1) var<storage, read> indices: array<u32>;
@group(0) @binding(2) var<storage, read> values: array<f32>;
@group(0) @binding(3) var<storage, read> cursor: Cursor;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let s = linear_group(group, groups);
    if s >= params.samples {
        return;
    }
    let place = (cursor.position + s) % params.count;
    let sample = permuted(place, params.count, params.side, cursor.seed, cursor.epoch);
    let row = s * params.stride;
    for (var i = lane; i < params.stride; i += WG_SIZE) {
        y[row + i] = 0.0;
    }
    // Another lane may have cleared what this one fills.
    storageBarrier();
    let end = starts[sample + 1u];
    for (var entry = starts[sample] + lane; entry < end; entry += WG_SIZE) {
        y[row + indices[entry]] = values[entry];
    }
}
