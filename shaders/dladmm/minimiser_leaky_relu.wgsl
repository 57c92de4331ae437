// The minimiser of (z - c)^2 + (a - f(z))^2 for leaky ReLU, in closed form.
//
//   z- = min((c + s a) / (1 + s^2), 0)        z+ = max((c + a) / 2, 0)        s: the slope below zero
//   z  = z+ where (z- - c)^2 + (a - s z-)^2 > (z+ - c)^2 + (a - z+)^2, else z-      ties keep z-
#import "shared/activation_leaky_relu.wgsl"

fn minimiser(c: vec4f, a: vec4f, quad: u32, features: u32) -> vec4f {
    let below = min((c + SLOPE * a) / (1.0 + SLOPE * SLOPE), vec4f());
    let above = max(0.5 * (c + a), vec4f());
    let rest_below = a - SLOPE * below;
    let rest_above = a - above;
    let cost_below = (below - c) * (below - c) + rest_below * rest_below;
    let cost_above = (above - c) * (above - c) + rest_above * rest_above;
    return select(below, above, cost_below > cost_above);
}
