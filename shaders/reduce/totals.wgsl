// reduce/totals: adds up a list of partial sums, four quantities at once; the second pass of every reduction.
//
//   totals[slot] = sum over i < count of partials[i]
//
// One workgroup; lanes stride through the list, then a fixed tree adds them. A total that is not finite is noted in
// the status under `origin`. Oracle: reference::reduce::totals.
#import "shared/reduce_tree.wgsl"
#import "shared/status.wgsl"

const WG_SIZE: u32 = 256u; // @spec

struct Params {
    count: u32,
    slot: u32,
    origin: u32,
}

@group(0) @binding(0) var<storage, read> partials: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> totals: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> status: Status;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(local_invocation_index) lane: u32) {
    var sums = vec4f();
    for (var i = lane; i < params.count; i += WG_SIZE) {
        sums += partials[i];
    }
    let total = workgroup_sum(sums, lane);
    if lane == 0u {
        totals[params.slot] = total;
        status = after_seeing(status, dot(total, vec4f(1.0)), params.origin);
    }
}
