// linalg/lane_block_wide: linalg/lane_block for subgroups of 16 lanes.
#import "linalg/lane_block.wgsl"

fn from_lane_8(block: mat4x4f) -> mat4x4f {
    return mat4x4f(subgroupBroadcast(block[0], 8u), subgroupBroadcast(block[1], 8u),
        subgroupBroadcast(block[2], 8u), subgroupBroadcast(block[3], 8u));
}

fn from_lane_9(block: mat4x4f) -> mat4x4f {
    return mat4x4f(subgroupBroadcast(block[0], 9u), subgroupBroadcast(block[1], 9u),
        subgroupBroadcast(block[2], 9u), subgroupBroadcast(block[3], 9u));
}

fn from_lane_10(block: mat4x4f) -> mat4x4f {
    return mat4x4f(subgroupBroadcast(block[0], 10u), subgroupBroadcast(block[1], 10u),
        subgroupBroadcast(block[2], 10u), subgroupBroadcast(block[3], 10u));
}

fn from_lane_11(block: mat4x4f) -> mat4x4f {
    return mat4x4f(subgroupBroadcast(block[0], 11u), subgroupBroadcast(block[1], 11u),
        subgroupBroadcast(block[2], 11u), subgroupBroadcast(block[3], 11u));
}

fn from_lane_12(block: mat4x4f) -> mat4x4f {
    return mat4x4f(subgroupBroadcast(block[0], 12u), subgroupBroadcast(block[1], 12u),
        subgroupBroadcast(block[2], 12u), subgroupBroadcast(block[3], 12u));
}

fn from_lane_13(block: mat4x4f) -> mat4x4f {
    return mat4x4f(subgroupBroadcast(block[0], 13u), subgroupBroadcast(block[1], 13u),
        subgroupBroadcast(block[2], 13u), subgroupBroadcast(block[3], 13u));
}

fn from_lane_14(block: mat4x4f) -> mat4x4f {
    return mat4x4f(subgroupBroadcast(block[0], 14u), subgroupBroadcast(block[1], 14u),
        subgroupBroadcast(block[2], 14u), subgroupBroadcast(block[3], 14u));
}

fn from_lane_15(block: mat4x4f) -> mat4x4f {
    return mat4x4f(subgroupBroadcast(block[0], 15u), subgroupBroadcast(block[1], 15u),
        subgroupBroadcast(block[2], 15u), subgroupBroadcast(block[3], 15u));
}

// The same tree on every adapter.
fn sum_of_sixteen_lanes(value: f32) -> f32 {
    let third = vec4f(subgroupBroadcast(value, 8u), subgroupBroadcast(value, 9u),
        subgroupBroadcast(value, 10u), subgroupBroadcast(value, 11u));
    let fourth = vec4f(subgroupBroadcast(value, 12u), subgroupBroadcast(value, 13u),
        subgroupBroadcast(value, 14u), subgroupBroadcast(value, 15u));
    let pairs = third + fourth;
    return sum_of_lanes(value) + ((pairs.x + pairs.z) + (pairs.y + pairs.w));
}
