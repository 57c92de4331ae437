// NAdam (Dozat 2016, algorithm 2): m and v as Adam's, a momentum that warms up, and a look one step ahead.
//
//   move = (scale_gradient g + scale_ahead m)/(scale_second sqrt(v) + epsilon)
//
// Rows of state: m, v.
fn advance(now: Clock, i: u32, g: vec4f) -> vec4f {
    let m = blended(i, now.blend_first, g);
    let v = blended(params.quads + i, now.blend_second, g * g);
    let ahead = fma(vec4f(now.scale_gradient), g, now.scale_ahead * m);
    return ahead / fma(vec4f(now.scale_second), sqrt(v), vec4f(now.epsilon));
}
