// What a proximal step of length 1 / alpha makes of weights under the penalty lambda |W|_1.
//
//   D = soft(w - pull g, threshold) - w          pull = kappa / alpha, threshold = lambda / alpha
//   soft(v, t) = sign(v) max(|v| - t, 0)
//
// Written without the difference of w and itself, which would leave nothing of a short step but rounding. A weight that
// becomes zero moves by exactly -w.
fn change(w: vec4f, g: vec4f, pull: f32, threshold: f32) -> vec4f {
    let step = -pull * g;
    let v = w + step;
    let up = vec4f(threshold);
    return select(select(-w, step + up, v < -up), step - up, v > up);
}
