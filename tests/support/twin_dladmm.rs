//! dlADMM composed of the crate's f64 twins, kernel by kernel as a plan dispatches them.
//!
//! Where the literal transcription forms each residual afresh and tries each step size, this keeps the products
//! `P_l = W_l a_{l−1}` resident, takes each step size in closed form and steps W₁ through the Gram matrix of the input.
//! Samples are rows. Layer `l` counts from 0, as in the literal transcription.

use dualstep::reference::dladmm::{self, Block, Control, LastLayer, Targets};
use dualstep::reference::{Activation, Matrix, elementwise, linalg, loss, reduce};

use super::literal_dladmm::{Function, Metrics, Settings};

/// The state of a run.
#[derive(Debug, Clone)]
pub struct TwinDlAdmm {
    /// W, n_out × n_in.
    pub weight: Vec<Matrix>,
    /// b, one row.
    pub bias: Vec<Matrix>,
    /// z, samples × n_out.
    pub z: Vec<Matrix>,
    /// a, the input first.
    pub a: Vec<Matrix>,
    /// The dual of the last layer.
    pub u: Matrix,
    /// P, the resident products.
    product: Vec<Matrix>,
    /// x xᵀ.
    gram: Matrix,
    labels: Vec<u32>,
    settings: Settings,
}

impl TwinDlAdmm {
    /// The start, as that of the literal transcription; `x` has a row per sample, a bias is one row.
    pub fn new(
        x: Matrix,
        labels: Vec<u32>,
        weight: Vec<Matrix>,
        bias: Vec<Matrix>,
        settings: Settings,
    ) -> Self {
        let (samples, last) = (x.rows(), weight.len() - 1);
        let gram = linalg::gram(&Matrix::zeros(x.cols(), x.cols()), &x).value;
        let (mut a, mut z, mut product) = (vec![x], Vec::new(), Vec::new());
        for l in 0..=last {
            product.push(forward(&a[l], &weight[l]));
            z.push(Matrix::from_fn(samples, bias[l].cols(), |n, i| product[l][(n, i)] + bias[l][(0, i)]));
            if l < last {
                a.push(elementwise::activate(&product[l], &bias[l], activation(settings.function)).value);
            }
        }
        let classes = weight[last].rows();
        z[last] = Matrix::from_fn(samples, classes, |n, c| if labels[n] as usize == c { 1.0 } else { -1.0 });
        Self { weight, bias, z, a, u: Matrix::zeros(samples, classes), product, gram, labels, settings }
    }

    /// One iteration. Returns the doublings, as the literal transcription does, and what was measured.
    pub fn sweep(&mut self) -> (Vec<u32>, Metrics) {
        let last = self.weight.len() - 1;
        let mut doublings = Vec::new();
        self.step_last_z();
        self.step_bias(last);
        doublings.push(self.step_weight(last));
        for l in (1..last).rev() {
            doublings.push(self.step_activation(l));
            self.step_hidden_z(l);
            self.step_bias(l);
            doublings.push(self.step_weight(l));
        }
        doublings.push(self.step_activation(0));
        self.step_hidden_z(0);
        self.step_bias(0);
        doublings.extend(self.step_first_weight_twice());
        self.step_bias(0);
        self.step_hidden_z(0);
        doublings.push(self.step_activation(0));
        for l in 1..last {
            doublings.push(self.step_weight(l));
            self.step_bias(l);
            self.step_hidden_z(l);
            doublings.push(self.step_activation(l));
        }
        doublings.push(self.step_weight(last));
        self.step_bias(last);
        self.step_last_z();
        (doublings, self.step_dual())
    }

    fn is_last(&self, l: usize) -> bool {
        l + 1 == self.weight.len()
    }

    fn f(&self) -> Activation {
        activation(self.settings.function)
    }

    fn control(&self) -> Control {
        let Settings { rho, nu, tau_base, theta_base, .. } = self.settings;
        Control::new(rho, nu, tau_base, theta_base)
    }

    /// What `P + b` of a layer is drawn to.
    fn goal(&self, l: usize) -> Matrix {
        if !self.is_last(l) {
            return self.z[l].clone();
        }
        dladmm::dual_target(&self.z[l], &self.u, self.settings.rho).value
    }

    fn last_layer(&self) -> LastLayer<'_> {
        let last = self.weight.len() - 1;
        LastLayer {
            z: &self.z[last],
            product: &self.product[last],
            bias: &self.bias[last],
            dual: &self.u,
            targets: Targets::Classes(&self.labels),
            rho: self.settings.rho,
        }
    }

    fn residual(&self, l: usize) -> Matrix {
        dladmm::residual(&self.product[l], &self.bias[l], &self.goal(l)).value
    }

    fn step_last_z(&mut self) {
        let last = self.weight.len() - 1;
        let Settings { fista_eta, fista_iterations, .. } = self.settings;
        self.z[last] = dladmm::fista(self.last_layer(), fista_eta, fista_iterations).value;
    }

    fn step_hidden_z(&mut self, l: usize) {
        self.z[l] = dladmm::hidden_z(&self.product[l], &self.bias[l], &self.a[l + 1], self.f()).kept.value;
    }

    fn step_bias(&mut self, l: usize) {
        let sums = dladmm::residual_sums(&self.product[l], &self.bias[l], &self.goal(l));
        self.bias[l] = dladmm::bias_step(&sums.value, self.z[l].rows(), &self.bias[l]).value;
    }

    /// The step of `a[l + 1]`: `product[l + 1]` follows it.
    fn step_activation(&mut self, l: usize) -> u32 {
        let (weight, a, residual, control) =
            (&self.weight[l + 1], &self.a[l + 1], self.residual(l + 1), self.control());
        let last = self.is_last(l + 1);
        let (g, square) =
            dladmm::activation_gradient(&residual, weight, a, &self.z[l], self.f(), &control, last);
        let g = g.value;
        let (change, norm) = linalg::matmul_norm(&g, false, weight, true);
        let size = dladmm::step_size(square.value, norm.value, &control, Block::Activation, last);
        self.a[l + 1] = elementwise::descend(a, &g, size.step).value;
        self.product[l + 1] = elementwise::descend(&self.product[l + 1], &change.value, size.step).value;
        size.exponent
    }

    /// The W step of a layer after the first: `product[l]` follows it.
    fn step_weight(&mut self, l: usize) -> u32 {
        let a = &self.a[l];
        let (last, lambda) = (self.is_last(l), self.settings.lambda);
        let g = linalg::matmul(&self.residual(l), true, a, false).value;
        let g = dladmm::weight_penalty(&self.weight[l], &self.control(), (lambda, last), &g).value;
        let (change, norm) = linalg::matmul_norm(a, false, &g, true);
        let square = reduce::dot(&g, &g).value;
        let size = dladmm::step_size(square, norm.value, &self.control(), Block::Weights { lambda }, last);
        self.weight[l] = elementwise::descend(&self.weight[l], &g, size.step).value;
        self.product[l] = elementwise::descend(&self.product[l], &change.value, size.step).value;
        size.exponent
    }

    /// Both steps of W₁, which follow each other: through the Gram matrix, the product formed once at the end.
    fn step_first_weight_twice(&mut self) -> [u32; 2] {
        let (control, lambda) = (self.control(), self.settings.lambda);
        let g = linalg::matmul(&self.residual(0), true, &self.a[0], false).value;
        let mut g = dladmm::weight_penalty(&self.weight[0], &control, (lambda, false), &g).value;
        let exponents = [(); 2].map(|()| {
            let curved = linalg::matmul(&g, false, &self.gram, false).value;
            // The penalty's curvature is in the product already, and with it in the next gradient.
            let curved = dladmm::weight_penalty(&g, &control, (lambda, false), &curved).value;
            let dots = reduce::dots(&curved, &g);
            let (square, change) = (dots.y_square.value, dots.product.value);
            let size = dladmm::step_size(square, change, &control, Block::Weights { lambda: 0.0 }, false);
            self.weight[0] = elementwise::descend(&self.weight[0], &g, size.step).value;
            g = elementwise::descend(&g, &curved, size.step).value;
            size.exponent
        });
        self.product[0] = forward(&self.a[0], &self.weight[0]);
        exponents
    }

    fn step_dual(&mut self) -> Metrics {
        let Settings { rho, nu, .. } = self.settings;
        let step = dladmm::dual_step(self.last_layer());
        let (loss, last_square) = (step.loss.value, step.residual_square.value);
        let mut objective = loss + step.dual_product.value + rho / 2.0 * last_square;
        for weight in &self.weight {
            objective += self.settings.lambda / 2.0 * reduce::dot(weight, weight).value;
        }
        let mut residual_squares = Vec::new();
        for l in 0..self.weight.len() - 1 {
            let terms =
                dladmm::hidden_terms(&self.product[l], &self.bias[l], &self.z[l], &self.a[l + 1], self.f());
            objective += nu / 2.0 * (terms.residual_square.value + terms.activation_square.value);
            residual_squares.push(terms.residual_square.value);
        }
        residual_squares.push(last_square);
        self.u = step.dual.value;
        let scores = self.scores();
        let samples = self.labels.len() as f64;
        Metrics {
            objective,
            loss,
            residual_squares,
            train_accuracy: scores.total_hits as f64 / samples,
            train_cost: scores.total_cost.value / samples,
        }
    }

    /// The forward pass through W and b.
    fn scores(&self) -> loss::SoftmaxScores {
        let last = self.weight.len() - 1;
        let mut a = self.a[0].clone();
        for l in 0..last {
            a = elementwise::activate(&forward(&a, &self.weight[l]), &self.bias[l], self.f()).value;
        }
        loss::softmax_scores(&forward(&a, &self.weight[last]), &self.bias[last], &self.labels)
    }
}

/// The crate's name for it.
fn activation(function: Function) -> Activation {
    match function {
        Function::Relu => Activation::Relu,
        Function::LeakyRelu(slope) => Activation::LeakyRelu(slope),
        Function::Sigmoid => Activation::Sigmoid,
        Function::Tanh => Activation::Tanh,
    }
}

/// `W a` for samples in rows.
fn forward(a: &Matrix, weight: &Matrix) -> Matrix {
    linalg::matmul(a, false, weight, true).value
}
