//! A literal float64 transcription of dlADMM with exact block steps (ALGORITHMS.md), to check the engine by.
//!
//! It shares no formula's arrangement with the engine: samples are columns, every residual is formed afresh, inputs
//! are centred before they are multiplied, systems are solved by elimination, never inverted, and Woodbury's identity
//! is not used. Layer `l` counts from 0: `z[l] = W[l] a[l] + b[l]`, `a[l + 1] = max(z[l], 0)`, `a[0] = x`.

use dualstep::reference::Matrix;

/// Penalties, damping and ridge.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// ρ.
    pub rho: f64,
    /// ν.
    pub nu: f64,
    /// d.
    pub damping: f64,
    /// m.
    pub ridge: f64,
    /// λ of the penalty (λ/2) ‖W‖².
    pub lambda: f64,
    /// Whether the forward half of the sweep is left out.
    pub backward_only: bool,
}

/// All variables, and the dual.
#[derive(Debug, Clone)]
pub struct LiteralExact {
    /// W, n_out × n_in.
    pub weight: Vec<Matrix>,
    /// b, n_out × 1.
    pub bias: Vec<Matrix>,
    /// z, n_out × samples.
    pub z: Vec<Matrix>,
    /// a, the input first.
    pub a: Vec<Matrix>,
    /// The dual of the last layer.
    pub u: Matrix,
    /// μ of each layer, once its first W step settled it.
    pub ridge: Vec<Option<f64>>,
    labels: Vec<u32>,
    settings: Settings,
}

impl LiteralExact {
    /// The start: z and a by a forward pass, `z_L = +1` at the label and −1 elsewhere, u = 0.
    pub fn new(
        x: Matrix,
        labels: Vec<u32>,
        weight: Vec<Matrix>,
        bias: Vec<Matrix>,
        settings: Settings,
    ) -> Self {
        let last = weight.len() - 1;
        let (mut z, mut a) = (Vec::new(), vec![x]);
        for l in 0..last {
            z.push(affine(&weight[l], &a[l], &bias[l]));
            a.push(z[l].map(relu));
        }
        let sign = |class: usize, n: usize| if labels[n] as usize == class { 1.0 } else { -1.0 };
        z.push(Matrix::from_fn(weight[last].rows(), labels.len(), sign));
        let u = Matrix::zeros(weight[last].rows(), labels.len());
        Self { ridge: vec![None; weight.len()], weight, bias, z, a, u, labels, settings }
    }

    /// One iteration.
    pub fn sweep(&mut self) {
        let last = self.weight.len() - 1;
        self.step_last_z();
        self.step_weight(last);
        for l in (0..last).rev() {
            self.step_activation(l);
            self.step_hidden_z(l);
            self.step_weight(l);
        }
        if !self.settings.backward_only {
            for l in 0..last {
                if l > 0 {
                    self.step_weight(l);
                }
                self.step_bias(l);
                self.step_hidden_z(l);
                self.step_activation(l);
            }
            self.step_weight(last);
            self.step_bias(last);
            self.step_last_z();
        }
        let c = affine(&self.weight[last], &self.a[last], &self.bias[last]);
        let rho = self.settings.rho;
        self.u = zip(&self.u, &zip(&self.z[last], &c, |z, c| z - c), |u, r| u + rho * r);
    }

    /// The augmented Lagrangian, ridge and penalty included.
    pub fn objective(&self) -> f64 {
        let last = self.weight.len() - 1;
        let mut total = 0.0;
        for l in 0..=last {
            let gap = zip(&self.z[l], &affine(&self.weight[l], &self.a[l], &self.bias[l]), |z, c| z - c);
            let ridge = self.ridge[l].unwrap_or(0.0);
            total +=
                self.kappa(l) / 2.0 * (inner(&gap, &gap) + ridge * inner(&self.weight[l], &self.weight[l]));
            total += self.settings.lambda / 2.0 * inner(&self.weight[l], &self.weight[l]);
            if l == last {
                total += inner(&self.u, &gap);
            } else {
                let rest = zip(&self.a[l + 1], &self.z[l], |a, z| a - relu(z));
                total += self.settings.nu / 2.0 * inner(&rest, &rest);
            }
        }
        let loss = |n: usize| {
            let column: Vec<f64> = (0..self.u.rows()).map(|class| self.z[last][(class, n)]).collect();
            -softmax(&column)[self.labels[n] as usize].ln()
        };
        total + (0..self.labels.len()).map(loss).sum::<f64>()
    }

    fn kappa(&self, l: usize) -> f64 {
        if l + 1 == self.weight.len() { self.settings.rho } else { self.settings.nu }
    }

    /// `R = W a + b − z − c`, c = u/ρ for the last layer.
    fn residual(&self, l: usize) -> Matrix {
        let fitted = affine(&self.weight[l], &self.a[l], &self.bias[l]);
        let residual = zip(&fitted, &self.z[l], |fitted, z| fitted - z);
        if l + 1 < self.weight.len() {
            return residual;
        }
        zip(&residual, &self.u, |r, u| r - u / self.settings.rho)
    }

    fn step_bias(&mut self, l: usize) {
        let residual = self.residual(l);
        for row in 0..residual.rows() {
            self.bias[l][(row, 0)] -= mean(residual.row(row));
        }
    }

    /// `W −= (κ R Aᵀ + (κ μ + λ) W)(κ M + κ t I + λ I)⁻¹`, M that of the centred inputs, between two b steps.
    fn step_weight(&mut self, l: usize) {
        self.step_bias(l);
        let inputs = self.a[l].cols();
        let centred = Matrix::from_fn(self.a[l].rows(), inputs, |row, n| {
            self.a[l][(row, n)] - mean(self.a[l].row(row))
        });
        let gram = product(&centred, &transpose(&centred));
        let mean_diagonal = (0..gram.rows()).map(|i| gram[(i, i)]).sum::<f64>() / gram.rows() as f64;
        let ridge = *self.ridge[l].get_or_insert(self.settings.ridge * mean_diagonal);
        let t = self.settings.damping * mean_diagonal + ridge;
        let (kappa, lambda) = (self.kappa(l), self.settings.lambda);
        let system = Matrix::from_fn(gram.rows(), gram.cols(), |i, j| {
            kappa * gram[(i, j)] + if i == j { kappa * t + lambda } else { 0.0 }
        });
        let pull = product(&self.residual(l), &transpose(&self.a[l]));
        let right = zip(&pull, &self.weight[l], |c, w| kappa * c + (kappa * ridge + lambda) * w);
        let step = transpose(&solve(&system, &transpose(&right)));
        self.weight[l] = zip(&self.weight[l], &step, |w, s| w - s);
        self.step_bias(l);
    }

    /// The output of hidden layer `l`: `a −= (κ W'ᵀW' + ν I)⁻¹ (κ W'ᵀ R' + ν (a − f(z)))`.
    fn step_activation(&mut self, l: usize) {
        let (kappa, nu) = (self.kappa(l + 1), self.settings.nu);
        let weight = &self.weight[l + 1];
        let gram = product(&transpose(weight), weight);
        let system = Matrix::from_fn(gram.rows(), gram.cols(), |i, j| {
            kappa * gram[(i, j)] + if i == j { nu } else { 0.0 }
        });
        let back = product(&transpose(weight), &self.residual(l + 1));
        let rest = zip(&self.a[l + 1], &self.z[l], |a, z| a - relu(z));
        let gradient = zip(&back, &rest, |back, rest| kappa * back + nu * rest);
        let step = solve(&system, &gradient);
        self.a[l + 1] = zip(&self.a[l + 1], &step, |a, s| a - s);
    }

    fn step_hidden_z(&mut self, l: usize) {
        let c = affine(&self.weight[l], &self.a[l], &self.bias[l]);
        self.z[l] = zip(&c, &self.a[l + 1], |c, a| {
            let cost = |z: f64| (z - c) * (z - c) + (a - relu(z)) * (a - relu(z));
            let (below, above) = (f64::min(c, 0.0), f64::max((c + a) / 2.0, 0.0));
            if cost(below) > cost(above) { above } else { below }
        });
    }

    /// The minimiser of the loss and the proximal term, sample by sample: Newton's method, halving a step until the
    /// objective falls.
    fn step_last_z(&mut self) {
        let last = self.weight.len() - 1;
        let rho = self.settings.rho;
        let fitted = affine(&self.weight[last], &self.a[last], &self.bias[last]);
        let centre = zip(&fitted, &self.u, |c, u| c - u / rho);
        for n in 0..centre.cols() {
            let c: Vec<f64> = (0..centre.rows()).map(|class| centre[(class, n)]).collect();
            let label = self.labels[n] as usize;
            let mut z: Vec<f64> = (0..c.len()).map(|class| self.z[last][(class, n)]).collect();
            for _ in 0..200 {
                let p = softmax(&z);
                let gradient = Matrix::from_fn(z.len(), 1, |i, _| {
                    p[i] - f64::from(u8::from(i == label)) + rho * (z[i] - c[i])
                });
                let hessian = Matrix::from_fn(
                    z.len(),
                    z.len(),
                    |i, j| if i == j { p[i] + rho } else { 0.0 } - p[i] * p[j],
                );
                let step = solve(&hessian, &gradient);
                let at = |scale: f64| (0..z.len()).map(|i| z[i] - scale * step[(i, 0)]).collect::<Vec<f64>>();
                let cost = |z: &[f64]| {
                    let pull: f64 = z.iter().zip(&c).map(|(z, c)| (z - c) * (z - c)).sum();
                    rho / 2.0 * pull - softmax(z)[label].ln()
                };
                let scale = (0..60).map(|k| 0.5f64.powi(k)).find(|&scale| cost(&at(scale)) <= cost(&z));
                z = at(scale.unwrap_or(0.0));
            }
            for (class, z) in z.into_iter().enumerate() {
                self.z[last][(class, n)] = z;
            }
        }
    }
}

/// X with `system` X = `right`, by elimination with row pivoting.
fn solve(system: &Matrix, right: &Matrix) -> Matrix {
    let size = system.rows();
    let mut rows: Vec<Vec<f64>> = (0..size).map(|i| [system.row(i), right.row(i)].concat()).collect();
    for k in 0..size {
        let pivot = (k..size).max_by(|&i, &j| rows[i][k].abs().total_cmp(&rows[j][k].abs())).unwrap();
        rows.swap(k, pivot);
        let chosen = rows[k].clone();
        for (i, row) in rows.iter_mut().enumerate().filter(|(i, _)| *i != k) {
            let factor = row[k] / chosen[k];
            assert!(factor.is_finite(), "row {i}: a singular system");
            row.iter_mut().zip(&chosen).for_each(|(value, pivot)| *value -= factor * pivot);
        }
    }
    Matrix::from_fn(size, right.cols(), |i, j| rows[i][size + j] / rows[i][i])
}

fn product(left: &Matrix, right: &Matrix) -> Matrix {
    Matrix::from_fn(left.rows(), right.cols(), |i, j| {
        (0..left.cols()).map(|k| left[(i, k)] * right[(k, j)]).sum()
    })
}

/// Aᵀ.
pub fn transpose(a: &Matrix) -> Matrix {
    Matrix::from_fn(a.cols(), a.rows(), |row, column| a[(column, row)])
}

fn zip(left: &Matrix, right: &Matrix, f: impl Fn(f64, f64) -> f64) -> Matrix {
    assert_eq!(left.shape(), right.shape(), "shapes");
    Matrix::from_fn(left.rows(), left.cols(), |i, j| f(left[(i, j)], right[(i, j)]))
}

fn affine(weight: &Matrix, a: &Matrix, bias: &Matrix) -> Matrix {
    let product = product(weight, a);
    Matrix::from_fn(product.rows(), product.cols(), |row, n| product[(row, n)] + bias[(row, 0)])
}

fn inner(left: &Matrix, right: &Matrix) -> f64 {
    left.data().iter().zip(right.data()).map(|(a, b)| a * b).sum()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn relu(z: f64) -> f64 {
    z.max(0.0)
}

fn softmax(z: &[f64]) -> Vec<f64> {
    let top = z.iter().copied().fold(f64::MIN, f64::max);
    let total: f64 = z.iter().map(|z| (z - top).exp()).sum();
    z.iter().map(|z| (z - top).exp() / total).collect()
}
