//! N:M ADMM with a coupled penalty under Adam, in float64 and line by line: W, Z and the scaled dual U of one tensor, as
//! Holmes et al. 2021 write them, with a ρ that may change from update to update.

/// How ρ comes about.
pub enum Rho {
    /// κ mean(√v̂)/(rate · interval) at each update after 20 steps, 0 before.
    Auto(f64),
    /// This until the first update, the next from it on, and so on; the last one stays.
    Listed(Vec<f64>),
}

pub struct Settings {
    pub rho: Rho,
    pub interval: usize,
    pub leak: f64,
    pub keep: usize,
    pub group: usize,
    pub rate: fn(usize) -> f64,
    pub beta_1: f64,
    pub beta_2: f64,
    pub epsilon: f64,
}

/// What there is after an update.
#[derive(Clone, Debug)]
pub struct State {
    pub w: Vec<f64>,
    pub z: Vec<f64>,
    pub u: Vec<f64>,
    pub rho: f64,
    /// What was left of the dual.
    pub left: f64,
}

/// Π.
fn project(values: &[f64], keep: usize, group: usize) -> Vec<f64> {
    let mut result = values.to_vec();
    for values in result.chunks_exact_mut(group) {
        let mut order: Vec<usize> = (0..group).collect();
        order.sort_by(|&a, &b| values[b].abs().total_cmp(&values[a].abs()));
        order[keep..].iter().for_each(|&k| values[k] = 0.0);
    }
    result
}

/// The state after each update of a training by these gradients of the loss, one for each step.
pub fn train(start: &[f64], gradients: &[Vec<f64>], settings: &Settings) -> Vec<State> {
    let Settings { interval, leak, keep, group, rate, beta_1, beta_2, epsilon, .. } = *settings;
    let rho = match &settings.rho {
        Rho::Auto(_) => 0.0,
        Rho::Listed(list) => list[0],
    };
    let z = project(start, keep, group);
    let mut now = State { w: start.to_vec(), z, u: vec![0.0; start.len()], rho, left: leak };
    let (mut m, mut v) = (vec![0.0; start.len()], vec![0.0; start.len()]);
    let mut states = Vec::new();
    for (step, loss) in gradients.iter().enumerate() {
        let t = step as i32 + 1;
        let corrected = |v: f64| (v / (1.0 - beta_2.powi(t))).sqrt();
        for k in 0..now.w.len() {
            let g = loss[k] + now.rho * (now.w[k] - now.z[k] + now.u[k]);
            m[k] = beta_1 * m[k] + (1.0 - beta_1) * g;
            v[k] = beta_2 * v[k] + (1.0 - beta_2) * g * g;
            now.w[k] -= rate(step) * (m[k] / (1.0 - beta_1.powi(t))) / (corrected(v[k]) + epsilon);
        }
        if !(step + 1).is_multiple_of(interval) {
            continue;
        }
        let next = match &settings.rho {
            Rho::Auto(_) if step + 1 < 20 => 0.0,
            Rho::Auto(kappa) => {
                let mean = v.iter().map(|v| corrected(*v)).sum::<f64>() / v.len() as f64;
                kappa * mean / (rate(step) * interval as f64)
            }
            Rho::Listed(list) => list[(states.len() + 1).min(list.len() - 1)],
        };
        // Without a penalty there is no dual; else U is the dual over ρ, and never grows.
        now.left = if now.rho == 0.0 { 0.0 } else { (leak * now.rho / next).min(1.0) };
        let sum: Vec<f64> = now.w.iter().zip(&now.u).map(|(w, u)| w + u).collect();
        now.z = project(&sum, keep, group);
        now.u = sum.iter().zip(&now.z).map(|(sum, z)| now.left * (sum - z)).collect();
        now.rho = next;
        states.push(now.clone());
    }
    states
}
