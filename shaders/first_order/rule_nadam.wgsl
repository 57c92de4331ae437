// NAdam (Dozat 2016, algorithm 2): m and v as Adam's, a momentum that warms up, and a look one step ahead.
//
//   move = (scale_gradient g + scale_ahead m)/(scale_second sqrt(v) + epsilon)
//
// Rows of state: m, v.
fn advance(i: u32, g: vec4f) -> vec4f {
    let m = blended(i, clock.blend_first, g);
    let v = blended(params.quads + i, clock.blend_second, g * g);
    let ahead = fma(vec4f(clock.scale_gradient), g, clock.scale_ahead * m);
    return ahead / fma(vec4f(clock.scale_second), sqrt(v), vec4f(clock.epsilon));
}
