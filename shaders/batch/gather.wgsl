// batch/gather: the samples of a batch, drawn without repetition in an order of each epoch's own.
//
//   y[s] = x[pi(position + s)]      pi: the permutation of `count` samples for the seed and the epoch
//
// x: count x features, y: samples x features, `quads` vec4s a sample, of any 4-byte type. The cursor says where in which
// epoch. One lane owns one vec4. Oracle: reference::batch::gather.
#import "shared/index.wgsl"
#import "batch/cursor.wgsl"
#import "batch/permutation.wgsl"

const WG_SIZE: u32 = 256u; // @spec

struct Params {
    quads: u32,
    samples: u32,
    count: u32,
    side: u32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4u>;
@group(0) @binding(1) var<storage, read> cursor: Cursor;
@group(0) @binding(2) var<storage, read_write> y: array<vec4u>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_group(group, groups) * WG_SIZE + lane;
    if i >= params.quads * params.samples {
        return;
    }
    let place = (cursor.position + i / params.quads) % params.count;
    let sample = permuted(place, params.count, params.side, cursor.seed, cursor.epoch);
    y[i] = x[sample * params.quads + i % params.quads];
}
