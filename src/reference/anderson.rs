//! Oracles of `shaders/anderson/`: Anderson acceleration, one decision at a time.
//!
//! A history is a list of columns, of which the first `ledger.columns` hold something; a column is a matrix in the
//! shape of the state.

use super::{Bounded, Matrix};

/// Columns beyond which the ledger has no room for weights.
pub const MOST_COLUMNS: usize = 16;

/// The least sum of squares that a column is scaled by: the smallest normal number of f32.
const FLOOR: f64 = f32::MIN_POSITIVE as f64;

/// The largest Σ|γ| that is used.
const MOST_WEIGHT: f64 = 1e4;

/// What an accelerator remembers and decides.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ledger {
    /// Sweeps opened so far.
    pub sweep: u32,
    /// Columns of the history that hold something.
    pub columns: u32,
    /// The newest of them.
    pub slot: u32,
    /// Whether residual and image of the sweep before are there.
    pub has_previous: bool,
    /// t, or β when extrapolating.
    pub step: f64,
    /// Whether this sweep forms a column.
    pub forms: bool,
    /// Whether this sweep is one on which a candidate is tried.
    pub due: bool,
    /// Whether a candidate stands in the state.
    pub tried: bool,
    /// Whether it has to be taken back.
    pub rejected: bool,
    /// Candidates judged.
    pub tries: u32,
    /// Candidates kept.
    pub accepts: u32,
    /// Candidates of larger merit.
    pub rejects_by_merit: u32,
    /// Candidates with a merit that is not finite.
    pub rejects_not_finite: u32,
    /// Solves that gave nothing usable.
    pub skips: u32,
    /// Times the history was forgotten.
    pub clears: u32,
    /// Step of the last candidate that was judged.
    pub last_step: f64,
    /// Bits of the caller's penalties in the last sweep.
    pub penalties: Option<[u32; 2]>,
    /// Columns that the last solve used.
    pub rank: u32,
    /// Weights of the last solve.
    pub gamma: [f64; MOST_COLUMNS],
}

impl Ledger {
    fn forget(&mut self) {
        (self.columns, self.slot, self.has_previous) = (0, 0, false);
        self.clears += 1;
    }
}

/// When candidates are due.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Timetable {
    /// Columns of the history.
    pub memory: u32,
    /// Sweeps before the first on which a candidate is due.
    pub start: u32,
    /// Sweeps from one on which a candidate is due to the next.
    pub period: u32,
    /// Whether candidates are extrapolated.
    pub extrapolating: bool,
    /// Step after the penalties changed.
    pub first_step: f64,
}

/// Opens a sweep. `watched` are the bits of the caller's penalties, if it has any.
pub fn open(ledger: &Ledger, watched: Option<[u32; 2]>, timetable: &Timetable) -> Ledger {
    let mut after = ledger.clone();
    if let Some(now) = watched {
        if ledger.penalties.is_some_and(|then| then != now) {
            after.forget();
            after.step = timetable.first_step;
        }
        after.penalties = Some(now);
    }
    after.forms = after.has_previous;
    if after.forms && !timetable.extrapolating {
        let is_filling = after.columns < timetable.memory;
        after.slot = if is_filling { after.columns } else { (after.slot + 1) % timetable.memory };
        after.columns = (after.columns + 1).min(timetable.memory);
    }
    let since = after.sweep.checked_sub(timetable.start);
    after.due = after.columns > 0 && since.is_some_and(|since| since.is_multiple_of(timetable.period));
    after.tried = timetable.extrapolating && after.forms;
    after.rejected = false;
    after.has_previous = true;
    after.sweep += 1;
    after
}

/// What [`columns`] returns.
#[derive(Debug, Clone, PartialEq)]
pub struct NewColumn {
    /// f' = g' − x.
    pub residual: Matrix,
    /// dF = f' − f, each difference rounded to f32 as the kernel does.
    pub residual_change: Matrix,
    /// dG = g' − g.
    pub image_change: Matrix,
    /// ⟨dF_i, dF⟩ and ⟨dF_i, f'⟩ for every column, the newest in its place.
    pub products: Vec<[Bounded<f64>; 2]>,
}

/// The newest column and its products with `held`, in which place `slot` is the new one's. `stored` is what storing a
/// column does to a value.
///
/// The differences are rounded to f32 one by one, which leaves the kernel no choice, so that they are exact.
pub fn columns(
    (live, x): (&Matrix, &Matrix),
    (f, g): (&Matrix, &Matrix),
    held: &[Matrix],
    slot: usize,
    stored: impl Fn(f64) -> f64,
) -> NewColumn {
    let difference = |a: &Matrix, b: &Matrix| {
        Matrix::from_fn(a.rows(), a.cols(), |r, c| f64::from(a[(r, c)] as f32 - b[(r, c)] as f32))
    };
    let residual = difference(live, x);
    let residual_change = difference(&residual, f).map(&stored);
    let image_change = difference(live, g).map(&stored);
    let products = (0..held.len()).map(|i| {
        let column = if i == slot { &residual_change } else { &held[i] };
        [super::reduce::dot(column, &residual_change), super::reduce::dot(column, &residual)]
    });
    NewColumn { products: products.collect(), residual, residual_change, image_change }
}

/// What [`solve`] returns.
#[derive(Debug, Clone, PartialEq)]
pub struct Solved {
    /// Weights found and decision taken.
    pub ledger: Ledger,
    /// Products of the columns that are held.
    pub gram: Matrix,
    /// One unit of ε in an element of the scaled system, carried through its inverse: |A⁻¹| (|A| |y| + |b|), unscaled.
    pub magnitudes: Vec<f64>,
}

/// Puts the newest column's products into `gram` and solves `(G/(s sᵀ) + reg I) y = h/s`, `γ = y/s`.
pub fn solve(ledger: &Ledger, gram: &Matrix, products: &[[f64; 2]], regularisation: f64) -> Solved {
    let mut after = ledger.clone();
    let (count, slot) = (ledger.columns as usize, ledger.slot as usize);
    let mut gram = gram.clone();
    if ledger.forms {
        for (i, product) in products.iter().enumerate().take(count) {
            (gram[(i, slot)], gram[(slot, i)]) = (product[0], product[0]);
        }
    }
    let scales: Vec<f64> = (0..count).map(|i| gram[(i, i)].max(FLOOR).sqrt()).collect();
    let matrix = Matrix::from_fn(count, count, |i, j| {
        gram[(i, j)] / (scales[i] * scales[j]) + if i == j { regularisation } else { 0.0 }
    });
    let right: Vec<f64> = (0..count).map(|i| products[i][1] / scales[i]).collect();
    let inverse = Inverse::of(&matrix);
    let y = inverse.times(&right);
    let reach: Vec<f64> =
        (0..count).map(|i| (0..count).map(|j| (matrix[(i, j)] * y[j]).abs()).sum::<f64>()).collect();
    let magnitudes = (0..count).map(|i| {
        let terms = (0..count).map(|j| inverse.matrix[(i, j)].abs() * (reach[j] + right[j].abs()));
        terms.sum::<f64>() / scales[i]
    });
    let magnitudes = magnitudes.collect();
    let mut is_sound = products.iter().take(count).flatten().all(|sum| sum.is_finite());
    if ledger.due {
        after.rank = inverse.rank;
        after.gamma = [0.0; MOST_COLUMNS];
        for i in 0..count {
            after.gamma[i] = y[i] / scales[i];
        }
        let weight: f64 = after.gamma.iter().map(|gamma| gamma.abs()).sum();
        is_sound &= weight <= MOST_WEIGHT;
        after.tried = is_sound;
        after.skips += u32::from(!is_sound);
    }
    if ledger.forms && !is_sound {
        after.forget();
    }
    Solved { ledger: after, gram, magnitudes }
}

/// The inverse of a symmetric matrix on the columns that elimination did not cut, and zero on the others.
struct Inverse {
    matrix: Matrix,
    rank: u32,
}

impl Inverse {
    /// Eliminates with the largest remaining diagonal as pivot, as long as it is more than rounding would leave in f32.
    fn of(matrix: &Matrix) -> Self {
        let count = matrix.rows();
        let cut = count as f64 * f64::from(f32::EPSILON);
        let (mut left, mut inverse) = (matrix.clone(), Matrix::zeros(count, count));
        let mut pivots: Vec<usize> = Vec::new();
        (0..count).for_each(|i| inverse[(i, i)] = 1.0);
        loop {
            let rest = (0..count).filter(|i| !pivots.contains(i) && left[(*i, *i)] > cut);
            let Some(pivot) = rest.max_by(|a, b| left[(*a, *a)].total_cmp(&left[(*b, *b)])) else { break };
            pivots.push(pivot);
            for row in (0..count).filter(|row| *row != pivot) {
                let factor = left[(row, pivot)] / left[(pivot, pivot)];
                for column in 0..count {
                    left[(row, column)] -= factor * left[(pivot, column)];
                    inverse[(row, column)] -= factor * inverse[(pivot, column)];
                }
            }
        }
        let is_pivot = |i| pivots.contains(&i);
        let matrix = Matrix::from_fn(count, count, |i, j| match is_pivot(i) && is_pivot(j) {
            true => inverse[(i, j)] / left[(i, i)],
            false => 0.0,
        });
        Self { matrix, rank: pivots.len() as u32 }
    }

    fn times(&self, right: &[f64]) -> Vec<f64> {
        // A column that was cut has no weight, whatever its right-hand side, finite or not.
        let used = |i: usize, j: usize| self.matrix[(i, j)] != 0.0;
        let row = |i: usize| (0..right.len()).filter(move |j| used(i, *j));
        (0..right.len()).map(|i| row(i).map(|j| self.matrix[(i, j)] * right[j]).sum()).collect()
    }
}

/// The candidate g − t Σ γ_i dG_i.
pub fn mix(g: &Matrix, image_changes: &[Matrix], gamma: &[f64], step: f64) -> Bounded<Matrix> {
    Bounded::from_fn(g.rows(), g.cols(), |row, col| {
        let mut sum = Bounded::ZERO;
        sum.add(g[(row, col)]);
        for (change, gamma) in image_changes.iter().zip(gamma) {
            sum.add(-step * gamma * change[(row, col)]);
        }
        sum
    })
}

/// `live + β (live − g)`.
pub fn extrapolate(live: &Matrix, g: &Matrix, step: f64) -> Bounded<Matrix> {
    Bounded::from_fn(live.rows(), live.cols(), |row, col| {
        let (now, then) = (live[(row, col)], g[(row, col)]);
        let reach = step.abs() * (now.abs() + then.abs());
        Bounded { value: now + step * (now - then), magnitude: now.abs() + reach }
    })
}

/// `x` if it is wanted, else `y`; bit for bit.
pub fn copy_where(x: &Matrix, y: &Matrix, wanted: bool) -> Matrix {
    if wanted { x.clone() } else { y.clone() }
}

/// Keeps the candidate if its merit is finite and no larger than the other: `(growth, most, least)` is the rule by
/// which the step moves.
pub fn judge(ledger: &Ledger, before: f64, after: f64, (growth, most, least): (f64, f64, f64)) -> Ledger {
    let mut judged = ledger.clone();
    if !ledger.tried {
        return judged;
    }
    judged.tries += 1;
    judged.last_step = ledger.step;
    let is_finite_pair = before.is_finite() && after.is_finite();
    if is_finite_pair && after <= before {
        judged.accepts += 1;
        judged.step = (growth * ledger.step).min(most);
        return judged;
    }
    judged.rejected = true;
    judged.step = (0.5 * ledger.step).max(least);
    *(if is_finite_pair { &mut judged.rejects_by_merit } else { &mut judged.rejects_not_finite }) += 1;
    judged
}
