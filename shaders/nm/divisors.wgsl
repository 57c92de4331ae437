// nm/divisors: sums of what a method divides gradients by, over chunks of the matrices that are to become sparse; the first
// pass of an automatic rho.
//
//   sums[g] = sum over the weights of chunk g of divisor      by the method's rule, in shaders/nm/divisor_*.wgsl
//
// state: rows of `quads` vec4s, one for each value that the method keeps of a parameter. A unit of the table is a vec4, and
// `width` counts columns: what pads a matrix's rows is left out. A workgroup owns one chunk; lanes stride through it, then a
// fixed tree adds. Oracle: reference::nm::divisors.
#import "shared/index.wgsl"
#import "shared/feature.wgsl"
#import "shared/reduce_tree.wgsl"
#import "optimizer/verdict.wgsl"
#import "first_order/step_clock.wgsl"
#import "nm/chunk.wgsl"

const WG_SIZE: u32 = 256u; // @spec

struct Params {
    chunks: u32,
    quads: u32,
}

@group(0) @binding(0) var<storage, read> state: array<vec4f>;
@group(0) @binding(1) var<storage, read> chunks: array<Chunk>;
@group(0) @binding(2) var<storage, read> clock: Clock;
@group(0) @binding(3) var<storage, read_write> sums: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

#import "nm/divisor_second.wgsl"

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let at = linear_group(group, groups);
    var sum = vec4f();
    // Before the first step there is nothing in the state.
    if at < params.chunks && clock.verdict.steps > 0u {
        let chunk = chunks[at];
        for (var i = chunk.first + lane; i < chunk.end; i += WG_SIZE) {
            sum += select(vec4f(), divisor(chunk.w + i), is_feature(i % chunk.stride, chunk.width));
        }
    }
    let total = workgroup_sum(sum, lane);
    if lane == 0u && at < params.chunks {
        sums[at] = (total.x + total.y) + (total.z + total.w);
    }
}
