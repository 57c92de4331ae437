//! Gradients by finite differences, for tests that compare with them.

/// The gradient of `loss` by central differences, part by part; its error is about h² and the rounding of f64 over h.
pub fn differences(parameters: &[Vec<f64>], loss: impl Fn(&[Vec<f64>]) -> f64) -> Vec<Vec<f64>> {
    const STEP: f64 = 1e-5;
    let mut moved = parameters.to_vec();
    let mut gradient = Vec::new();
    for part in 0..parameters.len() {
        let mut values = Vec::new();
        for k in 0..parameters[part].len() {
            let mut at = |offset: f64| {
                moved[part][k] = parameters[part][k] + offset;
                loss(&moved)
            };
            let difference = at(STEP) - at(-STEP);
            moved[part][k] = parameters[part][k];
            values.push(difference / (2.0 * STEP));
        }
        gradient.push(values);
    }
    gradient
}
