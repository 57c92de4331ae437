// mlp/bias_gradient: the gradient of one layer's bias for each sub-batch by itself.
//
//   g_n = sum of delta over the samples of sub-batch n        n-th row of `gradient`, from quad `start` on
//
// delta: samples x outputs, `quads` vec4s a sample; gradient: sub-batches x slab, `gradient_stride` quads a row. A
// workgroup owns one vec4 of outputs of one sub-batch; lanes stride through its samples, then a fixed tree adds them.
// Oracle: reference::mlp::bias_gradient.
#import "shared/index.wgsl"
#import "shared/reduce_tree.wgsl"
#import "batch/sub_batch.wgsl"

const WG_SIZE: u32 = 64u; // @spec

struct Params {
    quads: u32,
    samples: u32,
    sub_batches: u32,
    gradient_stride: u32,
    start: u32,
}

@group(0) @binding(0) var<storage, read> delta: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> gradient: array<vec4f>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let index = linear_group(group, groups);
    if index >= params.quads * params.sub_batches {
        return;
    }
    let n = index / params.quads;
    let quad = index % params.quads;
    let end = sub_batch_start(n + 1u, params.samples, params.sub_batches);
    var sum = vec4f();
    for (var sample = sub_batch_start(n, params.samples, params.sub_batches) + lane; sample < end; sample += WG_SIZE) {
        sum += delta[sample * params.quads + quad];
    }
    let total = workgroup_sum(sum, lane);
    if lane == 0u {
        gradient[n * params.gradient_stride + params.start + quad] = total;
    }
}
