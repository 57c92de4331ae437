// Adamax (Kingma and Ba 2015, algorithm 2): u = max(beta_2 u, |g| + epsilon), move = scale_first m/u, m as Adam's.
// Rows of state: m, u; padding of u stays zero although epsilon is not.
#import "shared/feature.wgsl"

fn advance(now: Clock, i: u32, g: vec4f) -> vec4f {
    let m = blended(i, now.blend_first, g);
    let at = params.quads + i;
    let u = max(fma(vec4f(-now.blend_second), state[at], state[at]), abs(g) + now.epsilon);
    state[at] = select(vec4f(), u, is_feature(i, params.columns));
    return now.scale_first * m / u;
}
