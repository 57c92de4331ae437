//! Oracles of `shaders/first_order/`: PyTorch's update rules in float64.

use super::optimizer::{Schedule, Verdict};
use super::{Bounded, Matrix};

/// Which rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// v = μ v + g.
    Momentum,
    /// The same, and a look ahead.
    Nesterov,
    /// Sum of squares.
    AdaGrad,
    /// Ratio of two running squares.
    Adadelta,
    /// Running square.
    RmsProp,
    /// Two moments; AdamW too.
    Adam,
    /// Two moments, and a look ahead.
    NAdam,
    /// A moment, and a running maximum.
    Adamax,
}

/// Settings of a method.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Learning rate before the schedule.
    pub rate: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Whether it shrinks the parameters instead of joining the gradient.
    pub is_decoupled: bool,
    /// Decay of the first moment, or momentum.
    pub beta_1: f64,
    /// Decay of squares.
    pub beta_2: f64,
    /// ε.
    pub epsilon: f64,
    /// ψ of NAdam's warming momentum.
    pub momentum_decay: f64,
    /// Of the learning rate.
    pub schedule: Schedule,
}

/// What all parameters share in one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clock {
    /// Whether the step is taken.
    pub verdict: Verdict,
    /// Product of NAdam's momenta so far.
    pub mu_product: f64,
    /// Learning rate.
    pub rate: f64,
    /// Weight decay that joins the gradient.
    pub coupled: f64,
    /// Share by which parameters shrink.
    pub decoupled: f64,
    /// 1 − β₁.
    pub blend_first: f64,
    /// 1 − β₂.
    pub blend_second: f64,
    /// Learning rate over 1 − β₁ᵗ.
    pub scale_first: f64,
    /// 1/√(1 − β₂ᵗ).
    pub scale_second: f64,
    /// ε.
    pub epsilon: f64,
    /// NAdam's factor of the gradient.
    pub scale_gradient: f64,
    /// NAdam's factor of the first moment.
    pub scale_ahead: f64,
}

impl Clock {
    /// Before the first step.
    pub const START: Self = Self {
        verdict: Verdict { go: false, steps: 0, refused: 0, refused_at: 0, place: 0 },
        mu_product: 1.0,
        rate: 0.0,
        coupled: 0.0,
        decoupled: 0.0,
        blend_first: 0.0,
        blend_second: 0.0,
        scale_first: 0.0,
        scale_second: 0.0,
        epsilon: 0.0,
        scale_gradient: 0.0,
        scale_ahead: 0.0,
    };

    /// Its numbers after the verdict, in the order of the words.
    pub fn numbers(&self) -> [f64; 11] {
        [
            self.mu_product,
            self.rate,
            self.coupled,
            self.decoupled,
            self.blend_first,
            self.blend_second,
            self.scale_first,
            self.scale_second,
            self.epsilon,
            self.scale_gradient,
            self.scale_ahead,
        ]
    }
}

/// Opens a step on a gradient whose first unusable element is `found`.
pub fn clock(settings: &Settings, before: &Clock, found: Option<u32>) -> Clock {
    let verdict = before.verdict.after(found);
    if !verdict.go {
        return Clock { verdict, ..*before };
    }
    let t = f64::from(verdict.steps);
    let Settings { weight_decay, is_decoupled, beta_1, beta_2, epsilon, .. } = *settings;
    let rate = settings.rate * settings.schedule.factor(verdict.steps - 1);
    let warmed = |t: f64| beta_1 * (1.0 - 0.5 * 0.96f64.powf(t * settings.momentum_decay));
    let (now, next) = (warmed(t), warmed(t + 1.0));
    let product = before.mu_product * now;
    Clock {
        verdict,
        mu_product: product,
        rate,
        coupled: if is_decoupled { 0.0 } else { weight_decay },
        decoupled: if is_decoupled { rate * weight_decay } else { 0.0 },
        blend_first: 1.0 - beta_1,
        blend_second: 1.0 - beta_2,
        scale_first: rate / (1.0 - beta_1.powf(t)),
        scale_second: 1.0 / (1.0 - beta_2.powf(t)).sqrt(),
        epsilon,
        scale_gradient: rate * (1.0 - now) / (1.0 - product),
        scale_ahead: rate * next / (1.0 - product * next),
    }
}

/// The penalty of N:M ADMM in a step, on the parameters that have a T.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Penalty {
    /// W += p (T − W) after the step, p = γ/(1 + γ), γ = pull + rho rate.
    Pull {
        /// Whatever the learning rate.
        pull: f64,
        /// Beside it, as the learning rate grows.
        rho: f64,
    },
    /// g += rho (W − T) before the moments.
    Coupled {
        /// ρ.
        rho: f64,
    },
    /// No gradient, and `left` of the parameter, where T is 0.
    Masked {
        /// What stays.
        left: f64,
    },
}

impl Penalty {
    fn with(self, g: Bounded<f64>, held: f64, t: f64) -> Bounded<f64> {
        match self {
            Self::Coupled { rho } => Bounded {
                value: g.value + rho * (held - t),
                magnitude: g.magnitude + rho * (held.abs() + t.abs()),
            },
            Self::Masked { .. } if t == 0.0 => Bounded::ZERO,
            _ => g,
        }
    }

    fn after(self, clock: &Clock, w: Bounded<f64>, held: f64, t: f64) -> Bounded<f64> {
        match self {
            Self::Pull { pull, rho } => {
                let gamma = pull + rho * clock.rate;
                let share = gamma / (1.0 + gamma);
                Bounded {
                    value: w.value + share * (t - w.value),
                    magnitude: w.magnitude + share * (t.abs() + w.magnitude),
                }
            }
            Self::Masked { left } if t == 0.0 => scaled(Bounded { value: held, magnitude: held.abs() }, left),
            _ => w,
        }
    }
}

/// w − decoupled w − rate (g + coupled w), or `w` where the clock does not let it.
///
/// # Panics
/// If the shapes differ.
pub fn sgd(clock: &Clock, gradient: &Matrix, w: &Matrix) -> Bounded<Matrix> {
    sparse_sgd(clock, gradient, None, w)
}

/// The same with a penalty, and a T for each parameter that it concerns.
///
/// # Panics
/// If the shapes differ.
pub fn sparse_sgd(
    clock: &Clock,
    gradient: &Matrix,
    penalty: Option<(Penalty, &[Option<f64>])>,
    w: &Matrix,
) -> Bounded<Matrix> {
    assert_eq!(gradient.shape(), w.shape(), "sgd: shapes differ");
    Bounded::from_fn(w.rows(), w.cols(), |row, col| {
        let held = w[(row, col)];
        if !clock.verdict.go {
            return Bounded { value: held, magnitude: 0.0 };
        }
        let penalty = penalty.and_then(|(penalty, t)| Some((penalty, t[col]?)));
        let mut g = decayed(clock, gradient[(row, col)], held);
        if let Some((penalty, t)) = penalty {
            g = penalty.with(g, held, t);
        }
        let after = moved(clock, held, scaled(g, clock.rate));
        penalty.map_or(after, |(penalty, t)| penalty.after(clock, after, held, t))
    })
}

/// One step: the parameters and the rows of the state after it, or as they were where the clock does not let it.
///
/// # Panics
/// If the shapes differ.
pub fn step(
    rule: Rule,
    clock: &Clock,
    gradient: &Matrix,
    state: &Matrix,
    w: &Matrix,
) -> (Bounded<Matrix>, Bounded<Matrix>) {
    sparse_step(rule, clock, gradient, None, state, w)
}

/// The same with a penalty, and a T for each parameter that it concerns.
///
/// # Panics
/// If the shapes differ.
pub fn sparse_step(
    rule: Rule,
    clock: &Clock,
    gradient: &Matrix,
    penalty: Option<(Penalty, &[Option<f64>])>,
    state: &Matrix,
    w: &Matrix,
) -> (Bounded<Matrix>, Bounded<Matrix>) {
    assert_eq!((gradient.shape(), state.cols()), (w.shape(), w.cols()), "step: shapes differ");
    let mut after = Bounded { value: state.clone(), magnitude: Matrix::zeros(state.rows(), state.cols()) };
    let w = Bounded::from_fn(w.rows(), w.cols(), |row, col| {
        let held = w[(row, col)];
        if !clock.verdict.go {
            return Bounded { value: held, magnitude: 0.0 };
        }
        let penalty = penalty.and_then(|(penalty, t)| Some((penalty, t[col]?)));
        let mut g = decayed(clock, gradient[(row, col)], held);
        if let Some((penalty, t)) = penalty {
            g = penalty.with(g, held, t);
        }
        let old = [state[(0, col)], if state.rows() > 1 { state[(1, col)] } else { 0.0 }];
        let (new, change) = advance(rule, clock, g, old);
        for (k, new) in new.iter().enumerate().take(state.rows()) {
            after.value[(k, col)] = new.value;
            after.magnitude[(k, col)] = new.magnitude;
        }
        let moved = moved(clock, held, change);
        penalty.map_or(moved, |(penalty, t)| penalty.after(clock, moved, held, t))
    });
    (after, w)
}

/// The state and the move. Magnitudes are to first order: a root halves what is under it, and sums of squares are off by
/// a share of themselves.
fn advance(rule: Rule, clock: &Clock, g: Bounded<f64>, old: [f64; 2]) -> ([Bounded<f64>; 2], Bounded<f64>) {
    let Clock { rate, blend_first, blend_second, scale_first, scale_second, epsilon, .. } = *clock;
    let square = Bounded { value: g.value * g.value, magnitude: 2.0 * g.value.abs() * g.magnitude };
    let momentum = || Bounded {
        value: (1.0 - blend_first) * old[0] + g.value,
        magnitude: (1.0 + blend_first) * old[0].abs() + g.magnitude,
    };
    let moments = || [blend(old[0], g, blend_first), blend(old[1], square, blend_second)];
    let none = Bounded::ZERO;
    match rule {
        Rule::Momentum => {
            let v = momentum();
            ([v, none], scaled(v, rate))
        }
        Rule::Nesterov => {
            let v = momentum();
            let ahead = Bounded {
                value: (1.0 - blend_first) * v.value + g.value,
                magnitude: (1.0 + blend_first) * v.magnitude + g.magnitude,
            };
            ([v, none], scaled(ahead, rate))
        }
        Rule::AdaGrad => {
            let s = Bounded { value: old[0] + square.value, magnitude: old[0] + square.magnitude };
            ([s, none], over(scaled(g, rate), s.value.sqrt() + epsilon, s))
        }
        Rule::RmsProp => {
            let s = blend(old[0], square, blend_second);
            ([s, none], over(scaled(g, rate), s.value.sqrt() + epsilon, s))
        }
        Rule::Adadelta => {
            let s = blend(old[0], square, blend_second);
            let ratio = over(g, (s.value + epsilon).sqrt(), s);
            let d = scaled(ratio, (old[1] + epsilon).sqrt());
            let square = Bounded { value: d.value * d.value, magnitude: 2.0 * d.value.abs() * d.magnitude };
            ([s, blend(old[1], square, blend_second)], scaled(d, rate))
        }
        Rule::Adam => {
            let [m, v] = moments();
            ([m, v], over(scaled(m, scale_first), scale_second * v.value.sqrt() + epsilon, v))
        }
        Rule::NAdam => {
            let [m, v] = moments();
            let mut ahead = scaled(m, clock.scale_ahead);
            ahead.add_bounded(clock.scale_gradient * g.value, clock.scale_gradient * g.magnitude);
            ([m, v], over(ahead, scale_second * v.value.sqrt() + epsilon, v))
        }
        Rule::Adamax => {
            let m = blend(old[0], g, blend_first);
            let u = ((1.0 - blend_second) * old[1]).max(g.value.abs() + epsilon);
            let u = Bounded { value: u, magnitude: u + g.magnitude };
            ([m, u], over(scaled(m, scale_first), u.value, u))
        }
    }
}

/// The gradient with the weight decay that joins it.
fn decayed(clock: &Clock, gradient: f64, held: f64) -> Bounded<f64> {
    let decay = clock.coupled * held;
    Bounded { value: gradient + decay, magnitude: gradient.abs() + decay.abs() }
}

/// `before` moved towards `goal` by a share of the way.
fn blend(before: f64, goal: Bounded<f64>, share: f64) -> Bounded<f64> {
    Bounded {
        value: before + share * (goal.value - before),
        magnitude: before.abs() + share * (goal.magnitude + before.abs()),
    }
}

fn scaled(term: Bounded<f64>, factor: f64) -> Bounded<f64> {
    Bounded { value: term.value * factor, magnitude: term.magnitude * factor.abs() }
}

/// A quotient whose denominator is off by as large a share of itself as `source`, which it was made of.
fn over(term: Bounded<f64>, denominator: f64, source: Bounded<f64>) -> Bounded<f64> {
    let share = if source.value == 0.0 { 1.0 } else { source.magnitude / source.value };
    let value = term.value / denominator;
    Bounded { value, magnitude: term.magnitude / denominator + value.abs() * share }
}

fn moved(clock: &Clock, held: f64, change: Bounded<f64>) -> Bounded<f64> {
    let shrunk = clock.decoupled * held;
    Bounded { value: held - shrunk - change.value, magnitude: held.abs() + shrunk.abs() + change.magnitude }
}
