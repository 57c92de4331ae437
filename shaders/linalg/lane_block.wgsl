// linalg/lane_block: what the 8 lanes of a subgroup tell each other: a 4 x 4 block that one lane loaded, a sum.
//
// WGSL wants the lane of a broadcast as a constant, hence one function per lane.

fn from_lane_0(block: mat4x4f) -> mat4x4f {
    return mat4x4f(subgroupBroadcast(block[0], 0u), subgroupBroadcast(block[1], 0u),
        subgroupBroadcast(block[2], 0u), subgroupBroadcast(block[3], 0u));
}

fn from_lane_1(block: mat4x4f) -> mat4x4f {
    return mat4x4f(subgroupBroadcast(block[0], 1u), subgroupBroadcast(block[1], 1u),
        subgroupBroadcast(block[2], 1u), subgroupBroadcast(block[3], 1u));
}

fn from_lane_2(block: mat4x4f) -> mat4x4f {
    return mat4x4f(subgroupBroadcast(block[0], 2u), subgroupBroadcast(block[1], 2u),
        subgroupBroadcast(block[2], 2u), subgroupBroadcast(block[3], 2u));
}

fn from_lane_3(block: mat4x4f) -> mat4x4f {
    return mat4x4f(subgroupBroadcast(block[0], 3u), subgroupBroadcast(block[1], 3u),
        subgroupBroadcast(block[2], 3u), subgroupBroadcast(block[3], 3u));
}

fn from_lane_4(block: mat4x4f) -> mat4x4f {
    return mat4x4f(subgroupBroadcast(block[0], 4u), subgroupBroadcast(block[1], 4u),
        subgroupBroadcast(block[2], 4u), subgroupBroadcast(block[3], 4u));
}

fn from_lane_5(block: mat4x4f) -> mat4x4f {
    return mat4x4f(subgroupBroadcast(block[0], 5u), subgroupBroadcast(block[1], 5u),
        subgroupBroadcast(block[2], 5u), subgroupBroadcast(block[3], 5u));
}

fn from_lane_6(block: mat4x4f) -> mat4x4f {
    return mat4x4f(subgroupBroadcast(block[0], 6u), subgroupBroadcast(block[1], 6u),
        subgroupBroadcast(block[2], 6u), subgroupBroadcast(block[3], 6u));
}

fn from_lane_7(block: mat4x4f) -> mat4x4f {
    return mat4x4f(subgroupBroadcast(block[0], 7u), subgroupBroadcast(block[1], 7u),
        subgroupBroadcast(block[2], 7u), subgroupBroadcast(block[3], 7u));
}

// The same tree on every adapter, where subgroupAdd would leave the order to the driver.
fn sum_of_lanes(value: f32) -> f32 {
    let first = vec4f(subgroupBroadcast(value, 0u), subgroupBroadcast(value, 1u),
        subgroupBroadcast(value, 2u), subgroupBroadcast(value, 3u));
    let second = vec4f(subgroupBroadcast(value, 4u), subgroupBroadcast(value, 5u),
        subgroupBroadcast(value, 6u), subgroupBroadcast(value, 7u));
    let pairs = first + second;
    return (pairs.x + pairs.z) + (pairs.y + pairs.w);
}
