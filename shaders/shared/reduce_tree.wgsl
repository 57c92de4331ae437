// Sum over the lanes of a workgroup by a tree in workgroup memory: the same order, and so the same bits, on every
// device. The importing kernel defines WG_SIZE, a power of two. Every lane must call it.
var<workgroup> lane_sums: array<vec4f, WG_SIZE>;

fn workgroup_sum(value: vec4f, lane: u32) -> vec4f {
    lane_sums[lane] = value;
    workgroupBarrier();
    for (var width = WG_SIZE / 2u; width > 0u; width /= 2u) {
        if lane < width {
            lane_sums[lane] += lane_sums[lane + width];
        }
        workgroupBarrier();
    }
    let sum = lane_sums[0];
    // Lets the caller sum again without overwriting what a slow lane has yet to read.
    workgroupBarrier();
    return sum;
}
