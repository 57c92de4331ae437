// batch/gather_labels: the labels of the samples that batch/gather takes.
//
//   y[s] = x[pi(position + s)]      pi: the permutation of `count` samples for the seed and the epoch
//
// x: one u32 for each of `count` samples, y: for each of `samples`. One lane owns one sample.
// Oracle: reference::batch::gather_labels.
#import "shared/index.wgsl"
#import "batch/cursor.wgsl"
#import "batch/permutation.wgsl"

const WG_SIZE: u32 = 256u; // @spec

struct Params {
    samples: u32,
    count: u32,
    side: u32,
}

@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read> cursor: Cursor;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_group(group, groups) * WG_SIZE + lane;
    if i >= params.samples {
        return;
    }
    let place = (cursor.position + i) % params.count;
    y[i] = x[permuted(place, params.count, params.side, cursor.seed, cursor.epoch)];
}
