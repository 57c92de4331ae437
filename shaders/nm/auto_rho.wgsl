// nm/auto_rho: the rho of a coupled penalty from this update on, by which it draws weights about as far in an interval as
// they would be pulled whatever the learning rate.
//
//   next_rho = gain mean(divisors)/rate,   gain = kappa/interval      once the optimizer took `free_steps` steps
//
// sums: what nm/divisors left, those of matrix k from ranges[k].first to ranges[k].end. Where that is no positive normal
// number, as without a learning rate or gradients, next_rho stays. One workgroup does all `matrices` one after another;
// lanes stride through the list, then a fixed tree adds. Oracle: reference::nm::auto_rho.
#import "shared/reduce_tree.wgsl"
#import "optimizer/verdict.wgsl"
#import "first_order/step_clock.wgsl"
#import "nm/range.wgsl"
#import "nm/settings.wgsl"

const WG_SIZE: u32 = 256u; // @spec

struct Params {
    matrices: u32,
}

@group(0) @binding(0) var<storage, read> sums: array<f32>;
@group(0) @binding(1) var<storage, read> ranges: array<Range>;
@group(0) @binding(2) var<storage, read> clock: Clock;
@group(0) @binding(3) var<storage, read_write> settings: array<Settings>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(local_invocation_index) lane: u32) {
    for (var k = 0u; k < params.matrices; k++) {
        var sum = 0.0;
        for (var i = ranges[k].first + lane; i < ranges[k].end; i += WG_SIZE) {
            sum += sums[i];
        }
        let total = workgroup_sum(vec4f(sum, 0.0, 0.0, 0.0), lane).x;
        if lane == 0u && clock.verdict.steps >= settings[k].free_steps && clock.rate > 0.0 {
            let rho = settings[k].gain * (total / f32(settings[k].weights)) / clock.rate;
            if is_positive_normal(rho) {
                settings[k].next_rho = rho;
            }
        }
    }
}

// By its bits, as compilers may assume that comparisons never see NaN.
fn is_positive_normal(x: f32) -> bool {
    let bits = bitcast<u32>(x);
    return bits >= 0x00800000u && bits < 0x7f800000u;
}
