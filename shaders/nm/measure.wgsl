// nm/measure: closes an update of N:M ADMM: adds up what nm/admm_update left of every chunk, matrix by matrix, and lets rho
// become what it was to be from this update on.
//
//   measures[2 k + m]   = sum over i from ranges[k].first to ranges[k].end of partials[2 i + m],   m = 0, 1
//   measures[2 k + 1].w = settings[k].rho = settings[k].next_rho
//   status.iteration    = status.iteration + 1
//
// One workgroup does all `matrices` one after another, so that the first of them whose sums are not finite is the one in
// the status, as k + 1; lanes stride through the list, then a fixed tree adds. Oracle: reference::nm::measure.
#import "shared/reduce_tree.wgsl"
#import "shared/status.wgsl"
#import "nm/range.wgsl"
#import "nm/settings.wgsl"

const WG_SIZE: u32 = 256u; // @spec

struct Params {
    matrices: u32,
}

@group(0) @binding(0) var<storage, read> partials: array<vec4f>;
@group(0) @binding(1) var<storage, read> ranges: array<Range>;
@group(0) @binding(2) var<storage, read_write> measures: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> settings: array<Settings>;
@group(0) @binding(4) var<storage, read_write> status: Status;
@group(0) @binding(5) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(local_invocation_index) lane: u32) {
    for (var k = 0u; k < params.matrices; k++) {
        var sums = vec4f();
        var counts = vec4f();
        for (var i = ranges[k].first + lane; i < ranges[k].end; i += WG_SIZE) {
            sums += partials[2u * i];
            counts += partials[2u * i + 1u];
        }
        let sum = workgroup_sum(sums, lane);
        let count = workgroup_sum(counts, lane);
        if lane == 0u {
            measures[2u * k] = sum;
            let rho = settings[k].next_rho;
            settings[k].rho = rho;
            measures[2u * k + 1u] = vec4f(count.xyz, rho);
            status = after_seeing(status, dot(sum, vec4f(1.0)) + dot(count, vec4f(1.0)), k + 1u);
        }
    }
    if lane == 0u {
        status.iteration += 1u;
    }
}
