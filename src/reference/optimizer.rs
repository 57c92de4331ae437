//! Oracles of `shaders/optimizer/`, and of what the clocks of optimizers have in common.

/// Whether a step is taken, and the count of those that were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the step is taken.
    pub go: bool,
    /// Steps taken so far, this one included.
    pub steps: u32,
    /// Steps refused so far.
    pub refused: u32,
    /// Which step was refused first, of those taken and refused, counted from 1; 0 while none was.
    pub refused_at: u32,
    /// The first element of the gradient that was to blame for that.
    pub place: u32,
}

impl Verdict {
    /// The verdict on a gradient whose first unusable element is `found`.
    #[must_use]
    pub fn after(self, found: Option<u32>) -> Self {
        match found {
            None => Self { go: true, steps: self.steps + 1, ..self },
            Some(place) if self.refused == 0 => {
                Self { go: false, refused: 1, refused_at: self.steps + 1, place, ..self }
            }
            Some(_) => Self { go: false, refused: self.refused + 1, ..self },
        }
    }
}

/// How a learning rate changes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Schedule {
    /// Not at all.
    Constant,
    /// Evenly to 0 over so many steps.
    Linear(u32),
    /// Along half a cosine to 0 over so many steps.
    Cosine(u32),
    /// By a factor after every so many steps.
    Stepped(u32, f64),
}

impl Schedule {
    /// The factor at a step, counted from 0.
    pub fn factor(self, step: u32) -> f64 {
        let share = |period: u32| f64::from(step.min(period)) / f64::from(period);
        match self {
            Self::Constant => 1.0,
            Self::Linear(period) => 1.0 - share(period),
            Self::Cosine(period) => 0.5 * (1.0 + (std::f64::consts::PI * share(period)).cos()),
            Self::Stepped(period, decay) => decay.powf(f64::from(step / period)),
        }
    }
}

/// The index of the first value that is NaN or no smaller than `limit` in magnitude.
pub fn finite(values: &[f32], limit: f32) -> Option<usize> {
    values.iter().position(|value| value.is_nan() || value.abs() >= limit)
}
