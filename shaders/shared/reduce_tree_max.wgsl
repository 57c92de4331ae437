// Maximum over the lanes of a workgroup by a tree in workgroup memory. The importing kernel defines WG_SIZE, a power of
// two. Every lane must call it.
var<workgroup> lane_maxima: array<vec4f, WG_SIZE>;

fn workgroup_max(value: vec4f, lane: u32) -> vec4f {
    lane_maxima[lane] = value;
    workgroupBarrier();
    for (var width = WG_SIZE / 2u; width > 0u; width /= 2u) {
        if lane < width {
            lane_maxima[lane] = max(lane_maxima[lane], lane_maxima[lane + width]);
        }
        workgroupBarrier();
    }
    let maximum = lane_maxima[0];
    // Lets the caller go on without overwriting what a slow lane has yet to read.
    workgroupBarrier();
    return maximum;
}
