//! A literal float64 transcription of dlADMM (Wang et al., KDD 2019, Algorithms 1 to 3), to check everything else by.
//!
//! It shares no formula with the engine: samples are columns, every residual is formed afresh from W, b, z and a, and
//! a step size is found by trying. Only the container [`Matrix`] is the crate's. Layer `l` counts from 0:
//! `z[l] = W[l] a[l] + b[l]`, `a[l + 1] = f(z[l])`, `a[0] = x`.

use dualstep::reference::Matrix;

/// The activation f.
#[derive(Debug, Clone, Copy)]
pub enum Function {
    /// max(z, 0).
    Relu,
    /// This slope below zero.
    LeakyRelu(f64),
    /// 1 / (1 + exp(−z)).
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
}

impl Function {
    /// f(z).
    fn of(self, z: f64) -> f64 {
        match self {
            Self::Relu if z > 0.0 => z,
            Self::Relu => 0.0,
            Self::LeakyRelu(slope) => {
                if z > 0.0 {
                    z
                } else {
                    slope * z
                }
            }
            Self::Sigmoid => 1.0 / (1.0 + (-z).exp()),
            Self::Tanh => z.tanh(),
        }
    }

    /// The z at which `(z − c)² + (a − f(z))²` is least: for ReLU, leaky or not, the better of the two candidates of
    /// Assumption 1, for the others by search. It lies no farther from c than `|a − f(c)|`, as the cost at c shows.
    fn nearest(self, c: f64, a: f64) -> f64 {
        let cost = |z: f64| (z - c) * (z - c) + (a - self.of(z)) * (a - self.of(z));
        let slope_below = match self {
            Self::Relu => Some(0.0),
            Self::LeakyRelu(slope) => Some(slope),
            Self::Sigmoid | Self::Tanh => None,
        };
        if let Some(s) = slope_below {
            let (below, above) = (f64::min((c + s * a) / (1.0 + s * s), 0.0), f64::max((c + a) / 2.0, 0.0));
            return if cost(below) > cost(above) { above } else { below };
        }
        let mut cell = (a - self.of(c)).abs() / 1000.0;
        let points = (-1000..=1000).map(|k| c + f64::from(k) * cell);
        let mut best = points.fold(c, |best, z| if cost(z) < cost(best) { z } else { best });
        // The cost is a parabola where cells are small, of which its own rounding hides the bottom: the slope's root is
        // halved instead.
        let slope = |z: f64, step: f64| cost(z + step) - cost(z - step);
        let (mut low, mut high) = (best - cell, best + cell);
        cell = cell.min(1e-4);
        for _ in 0..60 {
            best = f64::midpoint(low, high);
            if slope(best, cell) < 0.0 { low = best } else { high = best }
        }
        best
    }
}

/// Penalties, first trial curvatures and the inner iteration of z_L.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// f of every hidden layer.
    pub function: Function,
    /// ρ, the penalty of the last layer's constraint.
    pub rho: f64,
    /// ν, the penalty of the other layers.
    pub nu: f64,
    /// θ₀, the first curvature tried by W steps.
    pub theta_base: f64,
    /// τ₀, the first curvature tried by a steps.
    pub tau_base: f64,
    /// λ of the penalty (λ/2) ‖W‖².
    pub lambda: f64,
    /// λ of the penalty λ ‖W‖₁, for backtracked steps.
    pub sparsity: f64,
    /// Whether every row of W and every sample of a is stepped as far as pays, instead of all by backtracking.
    pub line_search: bool,
    /// Iterations of FISTA, at most.
    pub fista_iterations: usize,
    /// FISTA stops where the objective has moved by less than this.
    pub fista_tolerance: f64,
    /// η of FISTA.
    pub fista_eta: f64,
}

/// What one iteration is judged by.
#[derive(Debug, Clone, PartialEq)]
pub struct Metrics {
    /// The augmented Lagrangian (equation 1) at the new dual.
    pub objective: f64,
    /// Σ loss at z_L.
    pub loss: f64,
    /// ‖z_l − W_l a_{l−1} − b_l‖² of each layer.
    pub residual_squares: Vec<f64>,
    /// Share of samples that the forward pass classifies rightly; NaN under squared loss.
    pub train_accuracy: f64,
    /// Mean cross-entropy, or mean squared error, of the forward pass.
    pub train_cost: f64,
}

/// What the outputs are to be: under softmax cross-entropy a class for each sample, under squared loss a column.
#[derive(Debug, Clone)]
pub enum Target {
    /// Classes.
    Classes(Vec<u32>),
    /// Outputs × samples.
    Values(Matrix),
}

impl From<Vec<u32>> for Target {
    fn from(labels: Vec<u32>) -> Self {
        Self::Classes(labels)
    }
}

impl From<Matrix> for Target {
    fn from(values: Matrix) -> Self {
        Self::Values(values)
    }
}

/// All variables of Problem 2, and the dual.
#[derive(Debug, Clone)]
pub struct LiteralDlAdmm {
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
    /// How many iterations FISTA took each time.
    pub fista_taken: Vec<usize>,
    target: Target,
    settings: Settings,
}

impl LiteralDlAdmm {
    /// The start: z and a by a forward pass, `z_L = +1` at the label and −1 elsewhere, or the values
    /// themselves, u = 0.
    pub fn new(
        x: Matrix,
        target: impl Into<Target>,
        weight: Vec<Matrix>,
        bias: Vec<Matrix>,
        settings: Settings,
    ) -> Self {
        let last = weight.len() - 1;
        let (classes, samples) = (weight[last].rows(), x.cols());
        let (mut z, mut a) = (Vec::new(), vec![x]);
        for l in 0..last {
            z.push(affine(&weight[l], &a[l], &bias[l]));
            a.push(z[l].map(|z| settings.function.of(z)));
        }
        let target = target.into();
        z.push(match &target {
            Target::Values(values) => values.clone(),
            Target::Classes(labels) => {
                Matrix::from_fn(
                    classes,
                    samples,
                    |class, n| {
                        if labels[n] as usize == class { 1.0 } else { -1.0 }
                    },
                )
            }
        });
        let (u, fista_taken) = (Matrix::zeros(classes, samples), Vec::new());
        Self { weight, bias, z, a, u, fista_taken, target, settings }
    }

    /// One iteration (Algorithm 1). Returns the doublings of each backtracked step, in the order they are taken; none where
    /// steps go as far as pays.
    pub fn sweep(&mut self) -> Vec<u32> {
        let last = self.weight.len() - 1;
        let mut doublings = Vec::new();
        self.step_last_z();
        self.step_bias(last);
        doublings.extend(self.step_weight(last));
        for l in (0..last).rev() {
            doublings.extend(self.step_activation(l));
            self.step_hidden_z(l);
            self.step_bias(l);
            doublings.extend(self.step_weight(l));
        }
        for l in 0..last {
            doublings.extend(self.step_weight(l));
            self.step_bias(l);
            self.step_hidden_z(l);
            doublings.extend(self.step_activation(l));
        }
        doublings.extend(self.step_weight(last));
        self.step_bias(last);
        self.step_last_z();
        let (rho, residual) = (self.settings.rho, self.constraint(last));
        self.u = zip(&self.u, &residual, |u, r| u + rho * r);
        doublings
    }

    /// What the present state is worth.
    pub fn metrics(&self) -> Metrics {
        let Settings { rho, nu, lambda, sparsity, .. } = self.settings;
        let last = self.weight.len() - 1;
        let residuals: Vec<Matrix> = (0..=last).map(|l| self.constraint(l)).collect();
        let residual_squares: Vec<f64> = residuals.iter().map(square_norm).collect();
        let loss = self.loss(&self.z[last]);
        let dual = inner(&self.u, &residuals[last]);
        let mut objective = loss + dual + rho / 2.0 * residual_squares[last];
        for (l, square) in residual_squares[..last].iter().enumerate() {
            objective += nu / 2.0 * (square + self.activation_gap(l, &self.a[l + 1]));
        }
        for weight in &self.weight {
            objective += lambda / 2.0 * square_norm(weight);
            objective += sparsity * weight.data().iter().map(|w| w.abs()).sum::<f64>();
        }
        let logits = self.forward();
        let samples = logits.cols() as f64;
        let (train_accuracy, train_cost) = match &self.target {
            Target::Classes(labels) => (hits(&logits, labels) as f64 / samples, self.loss(&logits) / samples),
            // The mean over outputs, of what the loss has half of.
            Target::Values(_) => (f64::NAN, 2.0 * self.loss(&logits) / samples / logits.rows() as f64),
        };
        Metrics { objective, loss, residual_squares, train_accuracy, train_cost }
    }

    /// `z_l − W_l a_{l−1} − b_l`.
    fn constraint(&self, l: usize) -> Matrix {
        zip(&self.z[l], &affine(&self.weight[l], &self.a[l], &self.bias[l]), |z, c| z - c)
    }

    /// The penalty of a layer's constraint: ρ for the last, else ν.
    fn penalty(&self, l: usize) -> f64 {
        if l + 1 == self.weight.len() { self.settings.rho } else { self.settings.nu }
    }

    /// `W a + b − z − c`, c = u/ρ for the last layer, else 0; at a trial W or a.
    fn residual(&self, l: usize, weight: &Matrix, a: &Matrix) -> Matrix {
        let residual = zip(&affine(weight, a, &self.bias[l]), &self.z[l], |c, z| c - z);
        if l + 1 == self.weight.len() {
            zip(&residual, &self.u, |r, u| r - u / self.settings.rho)
        } else {
            residual
        }
    }

    /// ‖a − f(z_l)‖² at a trial a.
    fn activation_gap(&self, l: usize, a: &Matrix) -> f64 {
        square_norm(&zip(a, &self.z[l], |a, z| a - self.settings.function.of(z)))
    }

    /// The b step: the gradient, a mean over samples, divided by the penalty (equations 6, 7, 12 and 13).
    fn step_bias(&mut self, l: usize) {
        let residual = self.residual(l, &self.weight[l], &self.a[l]);
        let mean = |row: usize| residual.row(row).iter().sum::<f64>() / residual.cols() as f64;
        self.bias[l] = Matrix::from_fn(residual.rows(), 1, |row, _| self.bias[l][(row, 0)] - mean(row));
    }

    /// The W step with backtracking (equations 9 and 11, Algorithm 3), or each row as far as pays.
    fn step_weight(&mut self, l: usize) -> Option<u32> {
        let penalty = self.penalty(l);
        let residual = self.residual(l, &self.weight[l], &self.a[l]);
        let Settings { lambda, sparsity, .. } = self.settings;
        let gradient = zip(&product(&residual, &transpose(&self.a[l])), &self.weight[l], |g, w| {
            penalty * g + lambda * w
        });
        if self.settings.line_search {
            // Along −t times its gradient, a row's part of φ is a parabola in t, least where its slope is 0.
            let moved = product(&gradient, &self.a[l]);
            let length = |row: usize| {
                let (g, w) = (gradient.row(row), self.weight[l].row(row));
                let (m, r) = (moved.row(row), residual.row(row));
                let curvature = penalty * dot(m, m) + lambda * dot(g, g);
                if curvature > 0.0 { (penalty * dot(m, r) + lambda * dot(g, w)) / curvature } else { 0.0 }
            };
            let lengths: Vec<f64> = (0..gradient.rows()).map(length).collect();
            self.weight[l] = Matrix::from_fn(gradient.rows(), gradient.cols(), |row, k| {
                self.weight[l][(row, k)] - lengths[row] * gradient[(row, k)]
            });
            return None;
        }
        let phi = |weight: &Matrix| {
            penalty / 2.0 * square_norm(&self.residual(l, weight, &self.a[l]))
                + lambda / 2.0 * square_norm(weight)
        };
        let prox = |w: f64, alpha: f64| (w.abs() - sparsity / alpha).max(0.0) * w.signum();
        let (weight, doublings) =
            backtrack_to(&self.weight[l], &gradient, self.settings.theta_base, phi, prox);
        self.weight[l] = weight;
        Some(doublings)
    }

    /// The step of `a[l + 1]`, the output of hidden layer `l`, with backtracking (equations 3 and 16, Algorithm 2), or each
    /// sample as far as pays.
    fn step_activation(&mut self, l: usize) -> Option<u32> {
        let (penalty, nu) = (self.penalty(l + 1), self.settings.nu);
        let weight = &self.weight[l + 1];
        let residual = self.residual(l + 1, weight, &self.a[l + 1]);
        let back = product(&transpose(weight), &residual);
        let f = self.settings.function;
        let pull = zip(&self.a[l + 1], &self.z[l], |a, z| nu * (a - f.of(z)));
        let gradient = zip(&back, &pull, |back, pull| penalty * back + pull);
        if self.settings.line_search {
            let moved = product(weight, &gradient);
            let gap = zip(&self.a[l + 1], &self.z[l], |a, z| a - f.of(z));
            let length = |n: usize| {
                let column = |of: &Matrix| (0..of.rows()).map(|row| of[(row, n)]).collect::<Vec<f64>>();
                let [g, m, r, gap] = [&gradient, &moved, &residual, &gap].map(column);
                let curvature = penalty * dot(&m, &m) + nu * dot(&g, &g);
                if curvature > 0.0 { (penalty * dot(&m, &r) + nu * dot(&g, &gap)) / curvature } else { 0.0 }
            };
            let lengths: Vec<f64> = (0..gradient.cols()).map(length).collect();
            self.a[l + 1] = Matrix::from_fn(gradient.rows(), gradient.cols(), |row, n| {
                self.a[l + 1][(row, n)] - lengths[n] * gradient[(row, n)]
            });
            return None;
        }
        let phi = |a: &Matrix| {
            penalty / 2.0 * square_norm(&self.residual(l + 1, weight, a))
                + nu / 2.0 * self.activation_gap(l, a)
        };
        let (a, doublings) = backtrack(&self.a[l + 1], &gradient, self.settings.tau_base, phi);
        self.a[l + 1] = a;
        Some(doublings)
    }

    /// The z step of a hidden layer (equations 4 and 14).
    fn step_hidden_z(&mut self, l: usize) {
        let c = affine(&self.weight[l], &self.a[l], &self.bias[l]);
        self.z[l] = zip(&c, &self.a[l + 1], |c, a| self.settings.function.nearest(c, a));
    }

    /// The z step of the last layer, by FISTA (equations 5 and 15), or where `z − y + ρ (z − c)` is 0.
    fn step_last_z(&mut self) {
        let last = self.weight.len() - 1;
        let Settings { rho, fista_eta: eta, .. } = self.settings;
        let c =
            zip(&affine(&self.weight[last], &self.a[last], &self.bias[last]), &self.u, |c, u| c - u / rho);
        let labels = match &self.target {
            Target::Classes(labels) => labels,
            Target::Values(y) => {
                self.z[last] = zip(y, &c, |y, c| (y + rho * c) / (1.0 + rho));
                return;
            }
        };
        let mut lambda: f64 = 1.0;
        let mut zeta = self.z[last].clone();
        let mut z = zeta.clone();
        let mut objective = f64::INFINITY;
        let mut taken = 0;
        while taken < self.settings.fista_iterations {
            let before = objective;
            let distance = square_norm(&zip(&z, &c, |z, c| z - c));
            objective = self.loss(&z) + rho / 2.0 * distance;
            if (objective - before).abs() < self.settings.fista_tolerance {
                break;
            }
            taken += 1;
            let lambda_next = (1.0 + (1.0 + 4.0 * lambda * lambda).sqrt()) / 2.0;
            let gamma = (1.0 - lambda) / lambda_next;
            let softmax = softmax(&z);
            let zeta_next = Matrix::from_fn(z.rows(), z.cols(), |class, n| {
                let y = if labels[n] as usize == class { 1.0 } else { 0.0 };
                let descended = z[(class, n)] - eta * (softmax[(class, n)] - y);
                (rho * c[(class, n)] + descended / eta) / (rho + 1.0 / eta)
            });
            z = zip(&zeta_next, &zeta, |new, old| (1.0 - gamma) * new + gamma * old);
            (lambda, zeta) = (lambda_next, zeta_next);
        }
        self.fista_taken.push(taken);
        self.z[last] = z;
    }

    /// The network's logits.
    fn forward(&self) -> Matrix {
        let mut z = affine(&self.weight[0], &self.a[0], &self.bias[0]);
        for l in 1..self.weight.len() {
            z = affine(&self.weight[l], &z.map(|z| self.settings.function.of(z)), &self.bias[l]);
        }
        z
    }

    /// Σ −log softmax(z)[label], or ½ ‖z − y‖².
    fn loss(&self, z: &Matrix) -> f64 {
        match &self.target {
            Target::Values(y) => square_norm(&zip(z, y, |z, y| z - y)) / 2.0,
            Target::Classes(labels) => {
                let softmax = softmax(z);
                labels.iter().enumerate().map(|(n, &label)| -softmax[(label as usize, n)].ln()).sum()
            }
        }
    }
}

/// How many samples have their largest logit, the first of equals, at the label.
fn hits(z: &Matrix, labels: &[u32]) -> usize {
    let right = |n: usize| {
        let label = labels[n] as usize;
        (0..z.rows()).all(|class| {
            let (other, own) = (z[(class, n)], z[(label, n)]);
            if class < label { other < own } else { other <= own }
        })
    };
    (0..labels.len()).filter(|&n| right(n)).count()
}

/// Algorithms 2 and 3: from `base` on, doubles the curvature α until φ at `x = start − gradient/α` is not above its
/// quadratic model `φ(start) + ⟨gradient, x − start⟩ + (α/2) ‖x − start‖²`. Returns x and the number of doublings.
///
/// The model is taken at the x that was rounded. Its value in exact arithmetic, `φ(start) − ‖gradient‖²/(2α)`, promises
/// a descent even where the step is too short to change x, and then the loop goes on to tens of doublings.
pub fn backtrack(
    start: &Matrix,
    gradient: &Matrix,
    base: f64,
    phi: impl Fn(&Matrix) -> f64,
) -> (Matrix, u32) {
    backtrack_to(start, gradient, base, phi, |x, _| x)
}

/// The same where φ is not all: `prox(x, α)` is where an element goes that the rest of φ takes to x.
fn backtrack_to(
    start: &Matrix,
    gradient: &Matrix,
    base: f64,
    phi: impl Fn(&Matrix) -> f64,
    prox: impl Fn(f64, f64) -> f64,
) -> (Matrix, u32) {
    let before = phi(start);
    let mut alpha = base;
    for doublings in 0..1000 {
        let trial = zip(start, gradient, |x, g| prox(x - g / alpha, alpha));
        let change = zip(&trial, start, |x, start| x - start);
        if phi(&trial) <= before + inner(gradient, &change) + alpha / 2.0 * square_norm(&change) {
            return (trial, doublings);
        }
        alpha *= 2.0;
    }
    panic!("no curvature up to {alpha:e} passes the test");
}

/// `A B`.
pub fn product(left: &Matrix, right: &Matrix) -> Matrix {
    assert_eq!(left.cols(), right.rows(), "inner sizes");
    let mut result = Matrix::zeros(left.rows(), right.cols());
    for row in 0..left.rows() {
        for (k, &factor) in left.row(row).iter().enumerate() {
            for (sum, &value) in result.row_mut(row).iter_mut().zip(right.row(k)) {
                *sum += factor * value;
            }
        }
    }
    result
}

/// `Aᵀ`.
pub fn transpose(a: &Matrix) -> Matrix {
    Matrix::from_fn(a.cols(), a.rows(), |row, col| a[(col, row)])
}

/// ‖A‖².
pub fn square_norm(a: &Matrix) -> f64 {
    inner(a, a)
}

/// ⟨A, B⟩.
fn inner(left: &Matrix, right: &Matrix) -> f64 {
    left.data().iter().zip(right.data()).map(|(a, b)| a * b).sum()
}

fn dot(left: &[f64], right: &[f64]) -> f64 {
    left.iter().zip(right).map(|(a, b)| a * b).sum()
}

/// `f(a, b)` elementwise.
pub fn zip(left: &Matrix, right: &Matrix, f: impl Fn(f64, f64) -> f64) -> Matrix {
    assert_eq!(left.shape(), right.shape(), "shapes");
    let data = left.data().iter().zip(right.data()).map(|(&a, &b)| f(a, b)).collect();
    Matrix::new(left.rows(), left.cols(), data)
}

/// `W a + b`, the column b added to every sample.
fn affine(weight: &Matrix, a: &Matrix, bias: &Matrix) -> Matrix {
    let product = product(weight, a);
    Matrix::from_fn(product.rows(), product.cols(), |row, n| product[(row, n)] + bias[(row, 0)])
}

/// The softmax of each column.
fn softmax(z: &Matrix) -> Matrix {
    let mut result = Matrix::zeros(z.rows(), z.cols());
    for n in 0..z.cols() {
        let column = || (0..z.rows()).map(|class| z[(class, n)]);
        let top = column().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = column().map(|z| (z - top).exp()).sum();
        for class in 0..z.rows() {
            result[(class, n)] = (z[(class, n)] - top).exp() / total;
        }
    }
    result
}
