//! Sparsifying a network while it trains: N:M ADMM and its rivals, on the same kernels and the same steps.
//!
//! ```text
//! way         until it is in its pattern                                   at `steps`    afterwards
//! ADMM        the penalty in every step, an update every `interval`        W = Π(W)      masked steps
//! magnitude   plain steps                                                  W = Π(W)      masked steps
//! SR-STE      gradients at Π(W), applied to W, with λ W off the mask       W = Π(W)      masked steps
//! ```
//!
//! Magnitude at step 0 is masked fine-tuning, at the last step one-shot pruning, and never a dense training that tells
//! what pruning would cost. SR-STE (Zhou et al. 2021) is the coupled penalty with T = Π(W) taken afresh before every step.
//!
//! [`Training`](super::training::Training) takes a [`SparseConfig`] among its settings, and asks the sparsifier that it makes
//! what a step's gradient is of, what penalty is in the step, and what follows it. Nothing here waits, and the state of each
//! way is that of [`NmAdmm`]: T, 4 bytes for a sparse parameter. Where a network is run at Π(W), by SR-STE and for scores, a
//! copy of the parameters lies among the temporaries meanwhile.
//!
//! The ways without updates can be watched: at every so many steps, the same measures are taken by an update that leaves no
//! dual, of a T that is nobody else's and costs another 4 bytes. Without a dual, that is Π(W) before and now.

use super::first_order::{FirstOrder, Method};
use super::nm::{Measures, NmAdmm, NmConfig, NmPattern, Penalty, Rho, Warning};
use crate::Error;
use crate::engine::{Arena, Batch, Gpu, Plan, PlanBuilder, Ring, Shape, Slab, Tensor};
use crate::kernels::elementwise;
use crate::kernels::first_order::Penalty as KernelPenalty;
use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;

/// Copies of measures that may be on their way at once.
const COPIES_IN_FLIGHT: usize = 64;

/// Which weights become sparse, when and how.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct SparseConfig {
    /// What happens until the network is put in its pattern.
    pub way: Way,
    /// Which weight matrices have one; biases never do.
    pub patterns: Patterns,
    /// Steps until the network is put in its pattern, W = Π(W); those after it are masked.
    pub steps: u32,
    /// Steps from one look to the next at how far the weights are from their pattern, in the ways without updates; 0 for
    /// none.
    pub watch_every: u32,
}

/// What happens to weights until they are put in their pattern.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// They are drawn towards it.
    Admm(NmConfig),
    /// Nothing.
    Magnitude,
    /// The network is run with weights in the pattern, and dense ones learn from that.
    SrSte {
        /// λ.
        decay: f64,
    },
}

/// Which weight matrices have a pattern.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Patterns {
    /// All but the last layer's, the head.
    AllButLast(NmPattern),
    /// Those of the layers that have one here, from the first layer to the last.
    Each(Vec<Option<NmPattern>>),
}

impl SparseConfig {
    /// λ of SR-STE's authors.
    pub const DECAY: f64 = 2e-3;

    /// ADMM in so many steps, by what `settings` makes of those before the masked ones at the end:
    /// [`NmConfig::for_steps`], say. Of those there are `fine_tuning`, or, unless said, none; but a fifth of the steps
    /// where no more than 10 updates are to leave no more than a quarter of some weights.
    ///
    /// # Errors
    /// Those of `settings`; [`Error::Setting`] when steps and masked steps are as many.
    pub fn admm(
        patterns: Patterns,
        steps: u32,
        fine_tuning: Option<u32>,
        settings: impl Fn(u32) -> Result<NmConfig, Error>,
    ) -> Result<Self, Error> {
        let is_hard = || Ok::<_, Error>(patterns.density() <= 0.25 && settings(steps)?.updates <= 10);
        let fine_tuning = match fine_tuning {
            Some(fine_tuning) => fine_tuning,
            None if is_hard()? => steps / 5,
            None => 0,
        };
        let Some(steps) = steps.checked_sub(fine_tuning).filter(|steps| *steps > 0) else {
            let expected = "must leave steps before them";
            return Err(Error::Setting { setting: "fine-tune", value: fine_tuning.to_string(), expected });
        };
        Ok(Self { way: Way::Admm(settings(steps)?), patterns, steps, watch_every: 0 })
    }

    /// Dense training in so many steps, pruned by magnitude after the last.
    pub fn one_shot(patterns: Patterns, steps: u32) -> Self {
        Self { way: Way::Magnitude, patterns, steps, watch_every: 0 }
    }

    /// Pruned by magnitude before the first step, and trained in the mask that this leaves.
    pub fn masked(patterns: Patterns) -> Self {
        Self::one_shot(patterns, 0)
    }

    /// Dense training, whose scores tell what pruning would cost.
    pub fn dense(patterns: Patterns) -> Self {
        Self::one_shot(patterns, u32::MAX)
    }

    /// Whether weights are never put in their pattern.
    pub fn is_dense(&self) -> bool {
        self.steps == u32::MAX
    }

    /// SR-STE in so many steps, with its authors' λ.
    pub fn sr_ste(patterns: Patterns, steps: u32) -> Self {
        Self { way: Way::SrSte { decay: Self::DECAY }, patterns, steps, watch_every: 0 }
    }

    /// The same, watched as often as [`NmConfig::for_steps`] would update in so many steps.
    pub fn watched(self, steps: u32) -> Self {
        Self { watch_every: (steps / 40).max(1), ..self }
    }

    /// Refuses settings outside their range, for a network of these widths that a method trains.
    ///
    /// # Errors
    /// [`Error::Setting`] when there is nothing to sparsify; [`Error::Plan`] with the first layer whose pattern does not
    /// divide its inputs; those of [`NmConfig::check`] and [`NmConfig::check_method`].
    pub fn check(&self, widths: &[u32], method: Method) -> Result<(), Error> {
        for (layer, pattern) in self.patterns.of(widths.len().saturating_sub(1))? {
            pattern.mask(Shape::new(widths[layer + 1], widths[layer])).map_err(|error| {
                let detail = match error {
                    Error::Shape { detail, .. } => format!("layer {}: {detail}", layer + 1),
                    other => other.to_string(),
                };
                Error::Plan { plan: "sparsify".into(), detail }
            })?;
        }
        self.settings().check()?;
        self.settings().check_method(method)
    }

    /// What is likely to go wrong at a learning rate, as values: the library prints nothing.
    pub fn warnings(&self, learning_rate: f64) -> Vec<Warning> {
        match &self.way {
            Way::Admm(config) => config.warnings(learning_rate),
            Way::Magnitude | Way::SrSte { .. } => Vec::new(),
        }
    }

    /// Updates of a run.
    pub fn updates(&self) -> u32 {
        match &self.way {
            Way::Admm(config) => config.updates.min(self.steps.checked_div(config.interval).unwrap_or(0)),
            Way::Magnitude | Way::SrSte { .. } => 0,
        }
    }

    /// What the state on the device is made by; of magnitude nothing but its mask is used.
    fn settings(&self) -> NmConfig {
        let penalty = match self.way {
            Way::Admm(config) => return config,
            Way::Magnitude => Penalty::Pull { kappa: 1.0 },
            Way::SrSte { decay } => Penalty::Coupled { rho: Rho::Given(decay) },
        };
        NmConfig { penalty, interval: 1, updates: 1, leak: 1.0 }
    }

    /// What looks are taken by: updates that leave no dual.
    fn look(&self) -> Option<NmConfig> {
        let config = NmConfig {
            penalty: Penalty::Pull { kappa: 1.0 },
            interval: self.watch_every,
            updates: u32::MAX,
            leak: 0.0,
        };
        (self.watch_every > 0 && !matches!(self.way, Way::Admm(_))).then_some(config)
    }
}

impl Patterns {
    /// The share of weights that stay where the fewest do.
    pub fn density(&self) -> f64 {
        let all = match self {
            Self::AllButLast(pattern) => vec![Some(*pattern)],
            Self::Each(patterns) => patterns.clone(),
        };
        all.into_iter().flatten().map(NmPattern::density).fold(1.0, f64::min)
    }

    /// The layers that have a pattern, counted from 0, of so many.
    fn of(&self, layers: usize) -> Result<Vec<(usize, NmPattern)>, Error> {
        let refuse = |expected| Err(Error::Setting { setting: "pattern", value: self.to_string(), expected });
        let found: Vec<_> = match self {
            Self::AllButLast(pattern) => {
                (0..layers.saturating_sub(1)).map(|layer| (layer, *pattern)).collect()
            }
            Self::Each(patterns) if patterns.len() != layers => {
                return refuse("must be one for all layers but the last, or one for each layer");
            }
            Self::Each(patterns) => {
                patterns.iter().enumerate().filter_map(|(layer, it)| Some((layer, (*it)?))).collect()
            }
        };
        match found.is_empty() {
            true => {
                refuse("leaves every layer dense; the last one becomes sparse only where each has its own")
            }
            false => Ok(found),
        }
    }
}

impl FromStr for Patterns {
    type Err = Error;

    /// One pattern for all layers but the last, or one for each layer, with commas between and `dense` for none.
    fn from_str(text: &str) -> Result<Self, Error> {
        let one = |text: &str| if text == "dense" { Ok(None) } else { text.parse().map(Some) };
        match text.contains(',') {
            true => Ok(Self::Each(text.split(',').map(one).collect::<Result<_, _>>()?)),
            false => text.parse().map(Self::AllButLast),
        }
    }
}

impl fmt::Display for Patterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AllButLast(pattern) => write!(f, "{pattern}"),
            Self::Each(patterns) => {
                let words = patterns.iter().map(|it| it.map_or("dense".into(), |it| it.to_string()));
                write!(f, "{}", words.collect::<Vec<_>>().join(","))
            }
        }
    }
}

/// What an update of ADMM told, or in another way a look.
#[derive(Clone, Debug, PartialEq)]
pub struct UpdateRecord {
    /// The step that it followed, counted from 1.
    pub iteration: u32,
    /// Which update it was, counted from 1.
    pub update: u32,
    /// The layers of the sparse matrices, counted from 0.
    pub layers: Vec<usize>,
    /// What it measured of each of them, in that order.
    pub measures: Measures,
    /// What is likely to go wrong. Tensors are named by their place among `layers`.
    pub warnings: Vec<Warning>,
}

impl UpdateRecord {
    /// A warning in words, which name the layer.
    pub fn say(&self, warning: &Warning) -> String {
        warning.naming(|place| weights_of(&self.layers, place))
    }
}

/// The name of a sparse matrix.
fn weights_of(layers: &[usize], place: usize) -> String {
    format!("the weights of layer {}", layers[place] + 1)
}

/// A kind of step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Before the network is put in its pattern.
    Search,
    /// After that.
    Masked,
}

/// What sparsifies a network in training.
#[derive(Debug)]
pub(super) struct Sparsifier {
    config: SparseConfig,
    slab: Slab,
    nm: NmAdmm,
    /// The layers of the sparse matrices, counted from 0.
    layers: Vec<usize>,
    close: Plan,
    updates: Option<Updates>,
    measures: Ring,
    /// Steps whose updates' measures are on their way.
    pending: VecDeque<u32>,
}

/// The updates of ADMM, or looks.
#[derive(Debug)]
struct Updates {
    plan: Plan,
    interval: u32,
    count: u32,
    measures: Tensor,
    /// What looks are taken by; ADMM's updates are its own.
    look: Option<NmAdmm>,
}

impl Sparsifier {
    /// Over the parameters of dense layers, each a part of weights and a part of biases in the slab, in which `method` takes
    /// its steps; submits what opens the run.
    pub fn new(
        gpu: &Gpu,
        config: &SparseConfig,
        slab: &Slab,
        method: &FirstOrder,
        arena: &Arena,
    ) -> Result<Self, Error> {
        let found = config.patterns.of(slab.shapes().count() / 2)?;
        let parts: Vec<_> = found.iter().map(|(layer, pattern)| (2 * layer, *pattern)).collect();
        // All parameters are in one row, as the slab has them.
        let w = &method.parameters()[0];
        let admm = |config: &NmConfig| NmAdmm::new(gpu, config, slab, w, &parts);
        let nm = admm(&config.settings())?;
        let record = |label, add: &dyn Fn(&mut PlanBuilder) -> Result<(), Error>| {
            let mut plan = PlanBuilder::with_arena(gpu, label, arena);
            add(&mut plan)?;
            plan.finish()
        };
        let close = record("close", &|plan| nm.finish(plan))?;
        if config.steps == 0 {
            close.run()?;
        }
        let look = config.look().map(|config| admm(&config)).transpose()?;
        let measured = match config.way {
            Way::Admm(_) => Some((&nm, config.updates())),
            Way::Magnitude | Way::SrSte { .. } => look.as_ref().map(|look| (look, u32::MAX)),
        };
        let measured = measured.map(|(nm, count)| {
            record("open", &|plan| nm.start(plan))?.run()?;
            let plan = record("update", &|plan| nm.update(plan, method))?;
            Ok::<_, Error>((plan, nm.config().interval, count, nm.measures().clone()))
        });
        let updates = measured.transpose()?.map(|(plan, interval, count, measures)| Updates {
            plan,
            interval,
            count,
            measures,
            look,
        });
        Ok(Self {
            config: config.clone(),
            slab: slab.clone(),
            layers: found.iter().map(|(layer, _)| *layer).collect(),
            close,
            updates,
            nm,
            measures: Ring::new(COPIES_IN_FLIGHT),
            pending: VecDeque::new(),
        })
    }

    /// The kind of a step, counted from 0.
    pub fn phase(&self, step: u32) -> Phase {
        if step < self.config.steps { Phase::Search } else { Phase::Masked }
    }

    /// Adds what comes before a step's gradient, and returns the parameters to take it at.
    pub fn point(&self, plan: &mut PlanBuilder, phase: Phase, parameters: &Tensor) -> Result<Tensor, Error> {
        if phase == Phase::Masked || !matches!(self.config.way, Way::SrSte { .. }) {
            return Ok(parameters.clone());
        }
        self.nm.start(plan)?;
        self.projected(plan, parameters)
    }

    /// What a step has in it.
    pub fn penalty(&self, phase: Phase) -> Option<KernelPenalty<'_>> {
        match (phase, &self.config.way) {
            (Phase::Masked, _) => Some(self.nm.masked()),
            (Phase::Search, Way::Magnitude) => None,
            (Phase::Search, Way::Admm(_) | Way::SrSte { .. }) => Some(self.nm.penalty()),
        }
    }

    /// Adds Π(W): a copy of all parameters whose sparse weights are in their pattern.
    pub fn projected(&self, plan: &mut PlanBuilder, parameters: &Tensor) -> Result<Tensor, Error> {
        let copy = plan.temporary(parameters.shape());
        elementwise::copy(plan, parameters, &copy)?;
        self.nm.project_into(plan, &self.slab, &copy)?;
        Ok(copy)
    }

    /// Adds what follows a step, counted from 1, before scores are taken: an update that is due.
    pub fn after_step(&mut self, gpu: &Gpu, batch: &mut Batch, step: u32) -> Result<(), Error> {
        let Some(Updates { plan, interval, count, measures, .. }) = &self.updates else { return Ok(()) };
        if step.is_multiple_of(*interval) && step / interval <= *count {
            batch.replay(plan, 1)?;
            if self.measures.push(gpu, batch.encoder(), measures)? {
                self.pending.push_back(step);
            }
        }
        Ok(())
    }

    /// Adds what follows scores: W = Π(W), where it is due after a step, counted from 1.
    pub fn after_scores(&self, batch: &mut Batch, step: u32) -> Result<(), Error> {
        match step == self.config.steps {
            true => batch.replay(&self.close, 1),
            false => Ok(()),
        }
    }

    /// What has arrived of updates, oldest first. Never waits.
    pub fn poll(&mut self, gpu: &Gpu) -> Result<Vec<UpdateRecord>, Error> {
        let Some(Updates { interval, .. }) = self.updates else { return Ok(Vec::new()) };
        let mut records = Vec::new();
        while let Some(bytes) = self.measures.pop(gpu)? {
            // Pushed together.
            let iteration = self.pending.pop_front().expect("a step for every copy");
            let words: Vec<f32> = bytemuck::pod_collect_to_vec(&bytes);
            let measures = Measures::from_words(&words, &self.nm.weights());
            let update = iteration / interval;
            let warnings = match self.config.way {
                Way::Admm(_) => measures.warnings(update, self.config.updates()),
                Way::Magnitude | Way::SrSte { .. } => Vec::new(),
            };
            records.push(UpdateRecord { iteration, update, layers: self.layers.clone(), measures, warnings });
        }
        Ok(records)
    }

    /// Updates whose record is still to come.
    pub fn in_flight(&self) -> u32 {
        self.pending.len() as u32
    }

    /// Whether weights are still to be put in their pattern after so many steps.
    pub fn is_before_pattern(&self, steps: u32) -> bool {
        steps < self.config.steps
    }

    /// Whether every weight that was projected was finite, and every update. Waits.
    pub fn check(&self) -> Result<(), Error> {
        self.all().try_for_each(|nm| nm.check_naming(|place| weights_of(&self.layers, place)))
    }

    /// The state of the way, and of what looks are taken by. Waits.
    pub fn snapshot(&self) -> Result<Vec<Vec<u32>>, Error> {
        let parts: Vec<_> = self.all().map(NmAdmm::snapshot).collect::<Result<_, _>>()?;
        Ok(parts.concat())
    }

    /// Goes on from a state that [`snapshot`](Self::snapshot) took.
    pub fn restore(&self, snapshot: &[Vec<u32>]) -> Result<(), Error> {
        let count = self.all().count();
        // Both are over the same tensors.
        let each = snapshot.len().div_ceil(count).max(1);
        let mut parts = snapshot.chunks(each);
        self.all().try_for_each(|nm| nm.restore(parts.next().unwrap_or_default()))
    }

    fn all(&self) -> impl Iterator<Item = &NmAdmm> {
        let look = self.updates.iter().filter_map(|updates| updates.look.as_ref());
        std::iter::once(&self.nm).chain(look)
    }
}
