// Which workgroup this is when the host folded a long grid into rows: at most 65,535 groups per dimension.
fn linear_group(group: vec3u, groups: vec3u) -> u32 {
    return group.y * groups.x + group.x;
}
