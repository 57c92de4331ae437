// The walk of kernels that score samples: a workgroup owns CHUNK of them and adds up their scores; its lanes stride through them.
//
// The importing file provides `WG_SIZE`, `partials`, `params` with `samples` and `offset`, and `score`, which takes a sample and
// returns what is to be added up.
#import "shared/index.wgsl"
#import "shared/reduce_tree.wgsl"

const CHUNK: u32 = 64u;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let chunk = linear_group(group, groups);
    let end = min((chunk + 1u) * CHUNK, params.samples);
    var value = vec4f();
    for (var sample = chunk * CHUNK + lane; sample < end; sample += WG_SIZE) {
        value += score(sample);
    }
    let total = workgroup_sum(value, lane);
    if lane == 0u && chunk * CHUNK < params.samples {
        partials[params.offset + chunk] = total;
    }
}
