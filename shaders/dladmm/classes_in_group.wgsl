// A sample's classes dealt out over a workgroup: for many classes. A workgroup owns one sample, a lane every WG_SIZE-th
// vec4 of it; sums and maxima go through a tree. Every lane must call what is defined here.
#import "shared/reduce_tree.wgsl"
#import "shared/reduce_tree_max.wgsl"

fn sample_of(group: u32, lane: u32) -> u32 {
    return group;
}

fn quad_of(k: u32, lane: u32) -> u32 {
    return k * WG_SIZE + lane;
}

// The sum over the lanes that share the sample.
fn total(v: vec4f, lane: u32) -> vec4f {
    return workgroup_sum(v, lane);
}

// The maximum over the lanes that share the sample.
fn greatest(v: vec4f, lane: u32) -> vec4f {
    return workgroup_max(v, lane);
}

var<workgroup> first_says: u32;

// Whether this is the first of the lanes that share the sample.
fn is_first(lane: u32) -> bool {
    return lane == 0u;
}

// What the sample's first lane says.
fn agreed(condition: bool, lane: u32) -> bool {
    if lane == 0u {
        first_says = select(0u, 1u, condition);
    }
    return workgroupUniformLoad(&first_says) != 0u;
}
