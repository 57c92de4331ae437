//! Anderson acceleration in f64, transcribed from its definition and nothing else: x_k, g_k, dX, dF, the normal
//! equations, the safeguard. Beside every point it carries how far a run in f32 may be from it.

use std::collections::VecDeque;
use std::ops::Range;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const EPSILON: f64 = f32::EPSILON as f64;

/// x ↦ x W + c on the rows of x, or the maximum of that and 0.
pub struct Maths {
    pub width: usize,
    pub weights: Vec<f64>,
    pub shift: Vec<f64>,
    pub start: Vec<f64>,
    pub is_rectified: bool,
    /// A bound of ‖W‖.
    contraction: f64,
}

fn as_f32(value: f64) -> f64 {
    f64::from(value as f32)
}

impl Maths {
    /// W with eigenvalues spread evenly over a range, one reflection away from diagonal.
    pub fn random(rows: usize, width: usize, range: Range<f64>, is_rectified: bool, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut random = |count: usize| -> Vec<f64> {
            (0..count).map(|_| f64::from(rng.random_range(-1.0f32..1.0))).collect()
        };
        let spacing = (range.end - range.start) / (width as f64 - 1.0);
        let values: Vec<f64> = (0..width).map(|k| range.start + spacing * k as f64).collect();
        let contraction = range.start.abs().max(range.end.abs());
        let axis = random(width);
        let square: f64 = axis.iter().map(|a| a * a).sum();
        let reflect = |i: usize, k: usize| f64::from(u8::from(i == k)) - 2.0 * axis[i] * axis[k] / square;
        let weights = (0..width * width).map(|place| {
            let (i, j) = (place / width, place % width);
            as_f32((0..width).map(|k| reflect(i, k) * values[k] * reflect(k, j)).sum())
        });
        let weights = weights.collect();
        Self { width, weights, shift: random(width), start: random(rows * width), is_rectified, contraction }
    }

    /// A map with these eigenvalues, all others zero, and where it leads: a point whose distance from the start is in
    /// the space of those few.
    pub fn of_rank(width: usize, values: &[f64]) -> (Self, Vec<f64>) {
        // Waves of different lengths over the whole width are orthonormal.
        let wave = |k: usize, i: usize| {
            let angle = std::f64::consts::PI * (k as f64 + 1.0) * (i as f64 + 0.5) / width as f64;
            (2.0 / width as f64).sqrt() * angle.cos()
        };
        let weights: Vec<f64> = (0..width * width)
            .map(|place| {
                let (i, j) = (place / width, place % width);
                as_f32(values.iter().enumerate().map(|(k, value)| value * wave(k, i) * wave(k, j)).sum())
            })
            .collect();
        let solution: Vec<f64> = (0..width).map(|i| as_f32(1.0 + (i as f64).sin())).collect();
        let image = |x: &[f64], j: usize| (0..width).map(|i| x[i] * weights[i * width + j]).sum::<f64>();
        let shift = (0..width).map(|j| as_f32(solution[j] - image(&solution, j))).collect();
        // Slow parts of the error show least in the differences of residuals, by (1 − λ)²: made as large as the others
        // there, or regularisation would hide them.
        let error = |k: usize, i: usize| wave(k, i) / (1.0 - values[k]).powi(2);
        let start = (0..width)
            .map(|i| as_f32(solution[i] + (0..values.len()).map(|k| error(k, i)).sum::<f64>()))
            .collect();
        let contraction = values.iter().fold(0.0f64, |most, value| most.max(value.abs()));
        (Self { width, weights, shift, start, is_rectified: false, contraction }, solution)
    }

    /// g(x).
    pub fn image(&self, x: &[f64]) -> Vec<f64> {
        self.apply(x, |sum, term| sum + term, |value| if self.is_rectified { value.max(0.0) } else { value })
    }

    /// |x| |W| + |c|: what rounding in g(x) is relative to.
    fn magnitude(&self, x: &[f64]) -> Vec<f64> {
        self.apply(x, |sum, term| sum.abs() + term.abs(), f64::abs)
    }

    fn apply(&self, x: &[f64], add: impl Fn(f64, f64) -> f64, finish: impl Fn(f64) -> f64) -> Vec<f64> {
        let element = |place: usize| {
            let (row, j) = (place / self.width * self.width, place % self.width);
            let terms = (0..self.width).map(|i| x[row + i] * self.weights[i * self.width + j]);
            finish(terms.fold(self.shift[j], &add))
        };
        (0..x.len()).map(element).collect()
    }

    /// g applied so many times to the start.
    pub fn iterated(&self, times: usize) -> Vec<f64> {
        (0..times).fold(self.start.clone(), |x, _| self.image(&x))
    }

    /// ‖g(x) − x‖².
    fn merit(&self, x: &[f64]) -> f64 {
        minus(&self.image(x), x).iter().map(|value| value * value).sum()
    }

    /// How far rounding may take a computed g(x) from g(x).
    fn rounding(&self, x: &[f64]) -> f64 {
        (self.width as f64 + 1.0) * EPSILON * norm(&self.magnitude(x))
    }
}

fn minus(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn norm(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}

/// A column: dX, dF, and how far dF on the device may be from it.
struct Column {
    dx: Vec<f64>,
    df: Vec<f64>,
    error: f64,
}

/// A run.
pub struct Literal<'a> {
    maths: &'a Maths,
    memory: usize,
    regularisation: f64,
    /// What storing a column costs each element, relative to it.
    unit: f64,
    x: Vec<f64>,
    /// x and f of the sweep before, and their error.
    previous: Option<(Vec<f64>, Vec<f64>, f64)>,
    columns: VecDeque<Column>,
    pub step: f64,
    pub tries: u32,
    pub accepts: u32,
    error: f64,
    is_certain: bool,
}

impl<'a> Literal<'a> {
    pub fn new(maths: &'a Maths, memory: usize, regularisation: f64, unit: f64) -> Self {
        Self {
            x: maths.start.clone(),
            maths,
            memory,
            regularisation,
            unit,
            previous: None,
            columns: VecDeque::new(),
            step: 1.0,
            tries: 0,
            accepts: 0,
            error: 0.0,
            is_certain: true,
        }
    }

    pub fn x(&self) -> &[f64] {
        &self.x
    }

    /// The largest distance to x that rounding explains.
    pub fn allowed(&self) -> f64 {
        self.error
    }

    /// Whether errors are still so small that their squares can be left out, and no decision hung on one.
    pub fn is_certain(&self) -> bool {
        self.is_certain
    }

    /// One iteration; whether it tried a candidate.
    pub fn sweep(&mut self, is_due: bool) -> bool {
        let maths = self.maths;
        let image = maths.image(&self.x);
        let error = maths.contraction * self.error + maths.rounding(&self.x);
        let f = minus(&image, &self.x);
        let f_error = error + self.error + EPSILON * norm(&f);
        if let Some((x, previous, previous_error)) = &self.previous {
            let (dx, df) = (minus(&self.x, x), minus(&f, previous));
            let error = f_error + previous_error + (EPSILON + self.unit) * norm(&df);
            self.columns.push_back(Column { dx, df, error });
        }
        if self.columns.len() > self.memory {
            self.columns.pop_front();
        }
        self.previous = Some((self.x.clone(), f.clone(), f_error));
        (self.x, self.error) = (image, error);
        if is_due && !self.columns.is_empty() {
            self.candidate(&f, f_error);
        }
        is_due && !self.columns.is_empty()
    }

    fn candidate(&mut self, f: &[f64], f_error: f64) {
        let count = self.columns.len();
        let scales: Vec<f64> = self.columns.iter().map(|c| dot(&c.df, &c.df).max(1e-60).sqrt()).collect();
        let mut system: Vec<Vec<f64>> = (0..count)
            .map(|i| {
                let scaled =
                    |j: usize| dot(&self.columns[i].df, &self.columns[j].df) / (scales[i] * scales[j]);
                (0..count).map(|j| scaled(j) + if i == j { self.regularisation } else { 0.0 }).collect()
            })
            .collect();
        let matrix = system.clone();
        for (row, column) in system.iter_mut().zip(&self.columns) {
            row.push(dot(&column.df, f) / norm(&column.df).max(1e-30));
        }
        let y = solve(&mut system);
        let gamma: Vec<f64> = y.iter().zip(&scales).map(|(y, s)| y / s).collect();
        let changes: Vec<Vec<f64>> =
            self.columns.iter().map(|c| c.dx.iter().zip(&c.df).map(|(x, f)| x + f).collect()).collect();
        let mut candidate = self.x.clone();
        for (gamma, change) in gamma.iter().zip(&changes) {
            candidate.iter_mut().zip(change).for_each(|(x, change)| *x -= self.step * gamma * change);
        }
        let error = self.candidate_error(&matrix, &y, (f, f_error), &scales, &changes, &gamma);
        self.judge(candidate, error);
    }

    /// Perturbation theory of the normal equations to first order, in norms: columns of unit length that are off by η
    /// move the matrix by 2η√m, the right-hand side by η‖f‖ and its own, and so y by ‖A⁻¹‖ times these.
    fn candidate_error(
        &mut self,
        matrix: &[Vec<f64>],
        y: &[f64],
        (f, f_error): (&[f64], f64),
        scales: &[f64],
        changes: &[Vec<f64>],
        gamma: &[f64],
    ) -> f64 {
        let count = y.len() as f64;
        let relative = self.columns.iter().zip(scales).map(|(c, s)| c.error / s).fold(0.0f64, f64::max);
        // Rounding of a product over chunks and a tree is bounded by 32 ε of the norms, elimination by 6 m² ε.
        let rounding = (32.0 + 6.0 * count * count) * EPSILON;
        let inverse = inverse_norm(matrix);
        let matrix_error = (2.0 * relative + rounding) * count;
        let right_error = ((relative + rounding) * norm(f) + f_error) * count.sqrt();
        self.is_certain &= inverse * matrix_error < 0.1;
        let y_error =
            inverse * (matrix_error * norm(y) + right_error) / (1.0 - inverse * matrix_error).max(0.5);
        let mut error = self.error + EPSILON * norm(&self.x);
        for (i, change) in changes.iter().enumerate() {
            // A column of dG is off by at most twice what f is, and by its storage.
            let change_error = 2.0 * self.columns[i].error + (EPSILON + self.unit) * norm(change);
            let weight_error = y_error / scales[i];
            error += self.step * (gamma[i].abs() * change_error + weight_error * norm(change));
        }
        error
    }

    fn judge(&mut self, candidate: Vec<f64>, error: f64) {
        let (before, after) = (self.maths.merit(&self.x), self.maths.merit(&candidate));
        // A residual moves by at most twice as far as its point; its square is certain beyond that.
        let blur = |merit: f64, error: f64| 2.0 * merit.sqrt() * 2.0 * error + 4.0 * error * error;
        let rounding = self.maths.rounding(&self.x);
        let doubt = blur(before, self.error + rounding) + blur(after, error + rounding);
        self.is_certain &= (after - before).abs() > doubt;
        self.tries += 1;
        if after.is_finite() && after <= before + 1e-9 * before.abs() {
            self.accepts += 1;
            (self.x, self.error) = (candidate, error);
            self.step = (1.5 * self.step).min(16.0);
        } else {
            self.step = (self.step / 2.0).max(0.25);
        }
    }
}

/// Solves a system whose right-hand side is its last column.
fn solve(system: &mut [Vec<f64>]) -> Vec<f64> {
    let count = system.len();
    for k in 0..count {
        let pivot =
            (k..count).max_by(|a, b| system[*a][k].abs().total_cmp(&system[*b][k].abs())).unwrap_or(k);
        system.swap(k, pivot);
        let row = system[k].clone();
        for other in (0..count).filter(|other| *other != k) {
            let factor = system[other][k] / row[k];
            system[other].iter_mut().zip(&row).for_each(|(a, b)| *a -= factor * b);
        }
    }
    (0..count).map(|k| system[k][count] / system[k][k]).collect()
}

/// A bound of ‖A⁻¹‖: the Frobenius norm.
fn inverse_norm(matrix: &[Vec<f64>]) -> f64 {
    let count = matrix.len();
    let column = |k: usize| {
        let mut system = matrix.to_vec();
        for (i, row) in system.iter_mut().enumerate() {
            row.push(f64::from(u8::from(i == k)));
        }
        solve(&mut system)
    };
    (0..count).map(|k| norm(&column(k)).powi(2)).sum::<f64>().sqrt()
}
