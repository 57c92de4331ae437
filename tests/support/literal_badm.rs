//! A plain float64 transcription of BADM's equations 5, 4b, 6 and 7, with the local parameters and without anything
//! eliminated. Written from the paper, and not from the code under test.

/// Settings of a run.
#[derive(Clone, Copy)]
pub struct Literal {
    pub rho: f64,
    pub sigma: f64,
    pub beta: f64,
    pub epsilon: f64,
    pub is_corrected: bool,
}

/// One slot's dual and second moment, and how often it was used.
#[derive(Clone)]
pub struct Slot {
    pub pi: Vec<f64>,
    pub m: Vec<f64>,
    pub steps: i32,
}

impl Slot {
    pub fn new(length: usize, m: f64) -> Self {
        Self { pi: vec![0.0; length], m: vec![m; length], steps: 0 }
    }
}

impl Literal {
    /// One batch: gradients and shares of its sub-batches, one slot each.
    pub fn step(&self, w: &mut [f64], slots: &mut [Slot], gradients: &[Vec<f64>], weights: &[f64]) {
        let Self { rho, sigma, beta, epsilon, is_corrected } = *self;
        let mut averaged = vec![0.0; w.len()];
        for ((slot, gradient), weight) in slots.iter_mut().zip(gradients).zip(weights) {
            slot.steps += 1;
            let correction = if is_corrected { 1.0 - beta.powi(slot.steps) } else { 1.0 };
            for j in 0..w.len() {
                let local = w[j] - (gradient[j] + slot.pi[j]) / (rho + sigma); // (5)
                slot.pi[j] += sigma * (local - w[j]); // (4b)
                slot.m[j] = beta * slot.m[j] + (1.0 - beta) * slot.pi[j].powi(2); // (6)
                let size = (slot.m[j].max(1e-30) / correction).sqrt() + epsilon;
                averaged[j] += weight * (local + slot.pi[j] / (sigma * size)); // (7)
            }
        }
        w.copy_from_slice(&averaged);
    }
}
