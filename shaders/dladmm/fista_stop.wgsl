// dladmm/fista_stop: after how many steps dladmm/fista is to stop, from the changes of dladmm/fista_changes.
//
//   control.fista_steps = the first step in known + 1 .. iterations whose change, summed over `rows`, is less than
//                         `tolerance` in size; `iterations` where there is none
//
// Leaves what was found among the steps up to `known` as it is. changes: rows of `quads` vec4s.
// One workgroup; for each vec4 its lanes stride over the rows, then a tree adds up what they have.
// Oracle: reference::dladmm::fista_stop.
#import "shared/reduce_tree.wgsl"
#import "dladmm/control.wgsl"

const WG_SIZE: u32 = 256u; // @spec

struct Params {
    rows: u32,
    quads: u32,
    known: u32,
    iterations: u32,
    tolerance: f32,
}

@group(0) @binding(0) var<storage, read> changes: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> control: Control;
@group(0) @binding(2) var<uniform> params: Params;

var<workgroup> is_open: u32;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(local_invocation_index) lane: u32) {
    if lane == 0u {
        is_open = select(0u, 1u, control.fista_steps > f32(params.known));
    }
    if workgroupUniformLoad(&is_open) == 0u {
        return;
    }
    var stop = vec4f(f32(params.iterations));
    for (var quad = 0u; quad < params.quads; quad++) {
        var sum = vec4f();
        for (var row = lane; row < params.rows; row += WG_SIZE) {
            sum += changes[row * params.quads + quad];
        }
        let change = workgroup_sum(sum, lane);
        let steps = vec4f(f32(params.known + 4u * quad)) + vec4f(1.0, 2.0, 3.0, 4.0);
        stop = min(stop, select(stop, steps, abs(change) < vec4f(params.tolerance)));
    }
    if lane == 0u {
        control.fista_steps = min(min(stop.x, stop.y), min(stop.z, stop.w));
    }
}
