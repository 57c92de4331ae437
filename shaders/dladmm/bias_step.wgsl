// dladmm/bias_step: b = b - mean over samples of r, the exact minimiser in b (Wang et al. 2019, equation 8, with the
// mean that its closed form needs).
//
// partials: `chunks` rows of `quads` vec4s, from dladmm/residual_sums; b: features. A workgroup owns one vec4 of b;
// its lanes stride through the chunks, then a fixed tree adds them. Oracle: reference::dladmm::bias_step.
#import "shared/index.wgsl"
#import "shared/reduce_tree.wgsl"

const WG_SIZE: u32 = 64u; // @spec

struct Params {
    quads: u32,
    chunks: u32,
    samples: u32,
}

@group(0) @binding(0) var<storage, read> partials: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> bias: array<vec4f>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let quad = linear_group(group, groups);
    var sum = vec4f();
    if quad < params.quads {
        for (var chunk = lane; chunk < params.chunks; chunk += WG_SIZE) {
            sum += partials[chunk * params.quads + quad];
        }
    }
    let total = workgroup_sum(sum, lane);
    if lane == 0u && quad < params.quads {
        bias[quad] -= total / f32(params.samples);
    }
}
