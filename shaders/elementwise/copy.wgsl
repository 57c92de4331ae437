// elementwise/copy: y = x. Also the bandwidth ceiling that other kernels are measured against.
//
// x, y: `quads` vec4s in all. A workgroup owns 4 WG_SIZE of them and a lane four, WG_SIZE apart, so that neighbouring lanes
// load neighbouring vec4s and each has four loads under way. Oracle: reference::elementwise::copy.
#import "shared/index.wgsl"

const WG_SIZE: u32 = 256u; // @spec

struct Params {
    quads: u32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_group(group, groups) * 4u * WG_SIZE + lane;
    if i + 3u * WG_SIZE < params.quads {
        let a = x[i];
        let b = x[i + WG_SIZE];
        let c = x[i + 2u * WG_SIZE];
        let d = x[i + 3u * WG_SIZE];
        y[i] = a;
        y[i + WG_SIZE] = b;
        y[i + 2u * WG_SIZE] = c;
        y[i + 3u * WG_SIZE] = d;
        return;
    }
    for (var k = i; k < params.quads; k += WG_SIZE) {
        y[k] = x[k];
    }
}
