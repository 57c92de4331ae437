// The walk of kernels that score samples: one lane owns one, a workgroup owns WG_SIZE of them and adds up their scores.
//
// The importing file provides `WG_SIZE`, `partials`, `params` with `samples` and `offset`, and `score`, which takes a
// sample and returns what is to be added up.
#import "shared/index.wgsl"
#import "shared/reduce_tree.wgsl"

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let chunk = linear_group(group, groups);
    let sample = chunk * WG_SIZE + lane;
    var value = vec4f();
    if sample < params.samples {
        value = score(sample);
    }
    let total = workgroup_sum(value, lane);
    if lane == 0u && chunk * WG_SIZE < params.samples {
        partials[params.offset + chunk] = total;
    }
}
