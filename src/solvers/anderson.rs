//! Anderson acceleration of any iteration over tensors, safeguarded by a merit, decided on the device.
//!
//! A solver whose iteration is a map x ↦ g(x) hands its tensors to an [`Anderson`] and calls it while recording the
//! plan of one iteration. The accelerator keeps the last few differences of residuals f = g − x and of images g, and
//! on some iterations replaces g_k by a candidate that would annul the residual if the map were affine. The caller
//! says what a point is worth; a candidate that is worth less gives way to g_k again. Whoever has a map and no solver
//! of his own takes a [`FixedPoint`].
//!
//! # One iteration
//!
//! ```text
//! before                   keeps x_k; opens the sweep: penalties changed? a column to form? a candidate due?
//!   (the caller's sweep)   x_k becomes g_k
//! push                     f_k = g_k − x_k, the newest column and its products with the others
//! solve                    (G/(s sᵀ) + reg I) y = h/s, γ = y/s
//!   (the caller's merit of g_k)
//! mix                      g_k − t Σ γ_i (dX_i + dF_i) into the state; dependants put aside
//!   (the caller's dependants of the candidate, and its merit)
//! judge                    keeps it if its merit is finite and no larger; t grows, or is halved
//! restore                  unless it was kept, state and dependants are what they were, bit for bit
//! ```
//!
//! with G_ij = ⟨dF_i, dF_j⟩, h_i = ⟨dF_i, f_k⟩, s_i = √G_ii. Only the newest column's products are formed at each
//! push. Since dX_i + dF_i = g_k − g_{k−1}, the history holds dF_i and that difference, and a candidate reads one
//! column for each weight.
//!
//! What always holds:
//!
//! - The plan is the same for every iteration. Where nothing is tried, `mix`, `judge` and `restore` find so in the
//!   [ledger](Anderson::ledger) and leave the state alone; the host neither waits nor uploads.
//! - *Dependants* are tensors that the caller computes from the state and computes again for a candidate: resident
//!   products, auxiliary variables, duals. Those handed over are put aside by `mix` and put back by `restore` unless
//!   the candidate was kept, so that a reject costs a copy and no recomputation, and leaves not one bit changed. That
//!   holds where nothing was tried, too: the plan has computed them afresh all the same, perhaps with other bits, and
//!   `restore` undoes it. A caller may instead leave some out, and recompute them after `restore` on every iteration.
//! - A step that gives Σ|γ| > 10⁴, or anything that is not finite, forgets the history and tries nothing. A change of
//!   the caller's [penalties](Anderson::watching) forgets it too, for its columns belong to another map, and t is 1
//!   again. Either way the next sweep forms no column, as there is nothing to subtract.
//! - A merit that is NaN or infinite is a reject.
//! - Padding of rows stays zero.
//!
//! Iterations on which nothing is due need neither the merits nor `mix` … `restore`. A caller that finds them dear
//! records a second plan without them, and replays it where [`AndersonConfig::is_due`] says no.
//!
//! In f32 the safeguard's tolerance of 10⁻⁹ relative is nothing: a candidate is kept if its merit is no larger at all.
//! Near the end, where merits differ by less than their rounding, that makes acceptance a matter of chance, and the
//! merit monotone all the same.
//!
//! # What it costs
//!
//! In bytes for each stored element of the state, m columns of s bytes each ([`AndersonConfig::cost`]):
//!
//! | | kept | before | push | mix | restore |
//! |---|---|---|---|---|---|
//! | Anderson | 12 + 2 m s | 8 | 24 + (m + 1) s | 8 + m s | 8 |
//! | Anderson, m = 4, f32 | 44: 11 copies | 8 | 44 | 24 | 8 |
//! | Anderson, m = 4, bf16 | 28: 7 copies | 8 | 34 | 16 | 8 |
//! | extrapolation | 4: 1 copy | 0 | 0 | 16 | 8 |
//!
//! `mix` costs that where a candidate is tried, `restore` where one is rejected, else nothing; extrapolation's `mix`
//! always. A dependant costs 4 bytes an element to keep, 8 in `mix`, and 8 in `restore` unless a candidate was kept.
//!
//! # Examples
//!
//! A linear map, one step of gradient descent on ½⟨x, Ax⟩ − ⟨b, x⟩, and its residual as the merit:
//!
//! ```no_run
//! use dualstep::engine::{Gpu, GpuOptions, PlanBuilder, Shape, StorageType, Tensor};
//! use dualstep::kernels::linalg::{self, Transposed};
//! use dualstep::kernels::{elementwise, reduce};
//! use dualstep::solvers::anderson::{AndersonConfig, FixedPoint};
//!
//! fn main() -> Result<(), dualstep::Error> {
//!     let gpu = Gpu::open(&GpuOptions::default())?;
//!     let a = gpu.upload(Shape::new(3, 3), &[2.0, 0.5, 0.0, 0.5, 1.0, 0.2, 0.0, 0.2, 0.1])?;
//!     let minus_b = gpu.upload(Shape::vector(3), &[-1.0, -2.0, -3.0])?;
//!     let step = gpu.upload(Shape::vector(4), &[0.4, 0.0, 0.0, 0.0])?;
//!     let x = gpu.zeros(Shape::vector(3), StorageType::F32)?;
//!
//!     // A x − b
//!     let gradient = |plan: &mut PlanBuilder| -> Result<Tensor, dualstep::Error> {
//!         let gradient = plan.temporary(x.shape());
//!         elementwise::copy(plan, &minus_b, &gradient)?;
//!         linalg::matmul_add(plan, (&x, Transposed::No), (&a, Transposed::No), &gradient)?;
//!         Ok(gradient)
//!     };
//!     let descend = |plan: &mut PlanBuilder| {
//!         let gradient = gradient(plan)?;
//!         elementwise::descend(plan, &gradient, &step, 0, &x)
//!     };
//!     let merit = |plan: &mut PlanBuilder, into: &Tensor| {
//!         let gradient = gradient(plan)?;
//!         reduce::dot(plan, &gradient, &gradient, into, 0)
//!     };
//!     let map = FixedPoint::new(&gpu, &AndersonConfig::default(), &[x.clone()], descend, merit)?;
//!     map.run(20)?; // submits, and does not wait
//!     println!("{:?} after {:?}", gpu.read(&x)?, map.anderson().tally(&gpu)?);
//!     Ok(())
//! }
//! ```
//!
//! A nonlinear one, x ↦ max(x W + c, 0), whose merit is the distance that the map would still move the point:
//!
//! ```no_run
//! use dualstep::engine::{Gpu, GpuOptions, PlanBuilder, Shape, StorageType, Tensor};
//! use dualstep::kernels::linalg::{self, Transposed};
//! use dualstep::kernels::{Activation, elementwise, reduce};
//! use dualstep::solvers::anderson::{AndersonConfig, FixedPoint, Mode};
//!
//! fn main() -> Result<(), dualstep::Error> {
//!     let gpu = Gpu::open(&GpuOptions::default())?;
//!     let w = gpu.upload(Shape::new(2, 2), &[0.6, -0.3, 0.4, 0.5])?;
//!     let c = gpu.upload(Shape::vector(2), &[1.0, -0.1])?;
//!     let one = gpu.upload(Shape::vector(4), &[1.0, 0.0, 0.0, 0.0])?;
//!     let x = gpu.zeros(Shape::vector(2), StorageType::F32)?;
//!
//!     let image = |plan: &mut PlanBuilder, into: &Tensor| {
//!         let product = plan.temporary(x.shape());
//!         linalg::matmul(plan, (&x, Transposed::No), (&w, Transposed::No), &product)?;
//!         elementwise::activate(plan, &product, &c, into, Activation::Relu)
//!     };
//!     let merit = |plan: &mut PlanBuilder, into: &Tensor| {
//!         let moved = plan.temporary(x.shape());
//!         image(plan, &moved)?;
//!         elementwise::descend(plan, &x, &one, 0, &moved)?;
//!         reduce::dot(plan, &moved, &moved, into, 0)
//!     };
//!     let config = AndersonConfig { mode: Mode::Extrapolate, ..AndersonConfig::default() };
//!     let map = FixedPoint::new(&gpu, &config, &[x.clone()], |plan| image(plan, &x), merit)?;
//!     map.run(30)?;
//!     println!("{:?}", gpu.read(&x)?);
//!     Ok(())
//! }
//! ```

use crate::Error;
use crate::engine::{Batch, Gpu, Plan, PlanBuilder, Shape, StorageType, Tensor};
use crate::kernels::anderson::{
    self as kernel, Columns, GRAM_LENGTH, LEDGER_LENGTH, MOST_COLUMNS, OpenParams, Solve, StepRule, When,
    column_partials, history_shape, pair_count,
};
use crate::kernels::elementwise;

/// How candidates are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// From the last few sweeps, by least squares on their residuals; t starts at 1, ×1.5 on a success up to 16, ÷2
    /// on a failure down to ¼.
    #[default]
    Anderson,
    /// On in the direction of the last sweep, after every sweep but the first: g_k + β (g_k − g_{k−1}); β starts at ½,
    /// ×1.2 on a success up to 4, ÷2 on a failure down to 0.1. Needs no history: of the other settings none applies.
    Extrapolate,
}

impl Mode {
    fn first_step(self) -> f32 {
        match self {
            Self::Anderson => 1.0,
            Self::Extrapolate => 0.5,
        }
    }

    fn rule(self) -> StepRule {
        match self {
            Self::Anderson => StepRule { growth: 1.5, most: 16.0, least: 0.25 },
            Self::Extrapolate => StepRule { growth: 1.2, most: 4.0, least: 0.1 },
        }
    }
}

/// What a history's elements are stored as. Arithmetic is f32 either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HistoryStorage {
    /// Singles.
    #[default]
    F32,
    /// Upper halves of singles, rounded to the nearest: half the memory, three digits.
    Bf16,
}

impl HistoryStorage {
    fn storage(self) -> StorageType {
        match self {
            Self::F32 => StorageType::F32,
            Self::Bf16 => StorageType::Bf16,
        }
    }
}

/// Settings of an [`Anderson`].
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct AndersonConfig {
    /// Columns of the history, m: 1 to 16.
    pub memory: u32,
    /// Added to the diagonal of the scaled Gram matrix, which is 1. Below 1e-7 it is less than rounding.
    pub regularisation: f32,
    /// Sweeps before the one after which a candidate is first tried.
    pub start: u32,
    /// A candidate is tried after every so many sweeps; at least 1.
    pub period: u32,
    /// How the history is stored.
    pub history: HistoryStorage,
    /// How candidates are made.
    pub mode: Mode,
}

impl Default for AndersonConfig {
    fn default() -> Self {
        Self {
            memory: 4,
            regularisation: 1e-6,
            start: 3,
            period: 2,
            history: HistoryStorage::F32,
            mode: Mode::Anderson,
        }
    }
}

/// Bytes for each stored element of the state, padding being stored too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Memory for as long as the accelerator lives.
    pub kept: u64,
    /// Read and written by [`Anderson::before`].
    pub before: u64,
    /// Read and written by [`Anderson::push`] when the history is full.
    pub push: u64,
    /// Read and written by [`Anderson::mix`] when a candidate is tried and the history is full.
    pub mix: u64,
    /// Read and written by [`Anderson::restore`] when a candidate was rejected.
    pub restore: u64,
}

impl AndersonConfig {
    /// Refuses settings outside their range.
    ///
    /// # Errors
    /// [`Error::Setting`] with the first of them.
    pub fn check(&self) -> Result<(), Error> {
        let refuse = |setting, value: String, expected| Err(Error::Setting { setting, value, expected });
        if !(1..=MOST_COLUMNS).contains(&self.memory) {
            return refuse("memory", self.memory.to_string(), "must be 1 to 16 columns");
        }
        if !(self.regularisation >= 0.0 && self.regularisation.is_finite()) {
            return refuse(
                "regularisation",
                self.regularisation.to_string(),
                "must be finite and not negative",
            );
        }
        if self.period == 0 {
            return refuse("period", "0".into(), "must be at least 1");
        }
        Ok(())
    }

    /// Whether a candidate is due after this sweep, counted from 0, as long as there is a history.
    pub fn is_due(&self, sweep: u32) -> bool {
        match self.mode {
            Mode::Anderson => {
                sweep.checked_sub(self.start).is_some_and(|since| since.is_multiple_of(self.period.max(1)))
            }
            Mode::Extrapolate => true,
        }
    }

    /// Memory and traffic.
    pub fn cost(&self) -> Cost {
        let (memory, stored) = (u64::from(self.memory), self.history.storage().bytes());
        match self.mode {
            Mode::Anderson => Cost {
                // x, f, g; a column of dF and one of dG for each of m.
                kept: 12 + 2 * memory * stored,
                before: 8,
                // Reads live, x, f, g and the older columns of dF; writes f, g and the two new columns.
                push: 24 + (memory + 1) * stored,
                mix: 8 + memory * stored,
                restore: 8,
            },
            Mode::Extrapolate => Cost { kept: 4, before: 0, push: 0, mix: 16, restore: 8 },
        }
    }
}

/// Some rows of a state tensor with what is kept of them.
#[derive(Debug)]
struct Piece {
    live: Tensor,
    /// The state after the sweep, which a rejected candidate gives way to.
    image: Tensor,
    /// Absent when extrapolating.
    history: Option<History>,
}

#[derive(Debug)]
struct History {
    before: Tensor,
    residual: Tensor,
    columns: Tensor,
    /// Where the piece's partial sums begin in each list.
    offset: u32,
}

/// A caller's tensor that follows from the state, and where it is put aside.
#[derive(Debug)]
struct Dependant {
    live: Tensor,
    kept: Tensor,
}

/// An accelerator: memory on the device, and functions that record one iteration's use of it.
#[derive(Debug)]
pub struct Anderson {
    config: AndersonConfig,
    pieces: Vec<Piece>,
    dependants: Vec<Dependant>,
    /// The caller's penalties: a tensor of its own, and two words in it.
    watched: Option<(Tensor, [u32; 2])>,
    ledger: Tensor,
    gram: Tensor,
    partials: Tensor,
    /// `vec4`s of each list of partial sums.
    chunks: u32,
}

impl Anderson {
    /// Memory for accelerating `state`, tensors of f32 in any shapes. `dependants` are 4-byte tensors that follow from
    /// it; see [the module](self).
    ///
    /// # Errors
    /// [`Error::Setting`] when the settings are out of range; [`Error::Shape`] when a tensor is not of f32, or a
    /// dependant not of four bytes an element; [`Error::Limit`] when the history of 16 rows exceeds one binding.
    pub fn new(
        gpu: &Gpu,
        config: &AndersonConfig,
        state: &[Tensor],
        dependants: &[Tensor],
    ) -> Result<Self, Error> {
        config.check()?;
        expect_elements("state", state, |storage| storage == StorageType::F32)?;
        expect_elements("dependant", dependants, |storage| storage.bytes() == 4)?;
        let mut chunks = 0;
        let mut pieces = Vec::new();
        for tensor in state.iter().filter(|tensor| !tensor.shape().is_empty()) {
            for live in cut(gpu, config, tensor)? {
                pieces.push(Piece::new(gpu, config, live, &mut chunks)?);
            }
        }
        let dependants = dependants
            .iter()
            .map(|live| Ok(Dependant { live: live.clone(), kept: gpu.zeros(live.shape(), live.storage())? }));
        let accelerator = Self {
            config: *config,
            dependants: dependants.collect::<Result<_, Error>>()?,
            watched: None,
            ledger: gpu.zeros(Shape::vector(LEDGER_LENGTH), StorageType::U32)?,
            gram: gpu.zeros(Shape::vector(GRAM_LENGTH), StorageType::F32)?,
            partials: gpu.zeros(Shape::new(pair_count(config.memory), 4 * chunks), StorageType::F32)?,
            pieces,
            chunks,
        };
        accelerator.forget(gpu)?;
        Ok(accelerator)
    }

    /// Forgets the history whenever one of two elements of `control` is another than in the sweep before: the caller's
    /// penalties, say, on which its map depends. Looked at by [`Anderson::before`].
    ///
    /// # Errors
    /// [`Error::Setting`] when `control` has no such elements.
    pub fn watching(mut self, control: &Tensor, elements: [u32; 2]) -> Result<Self, Error> {
        if let Some(missing) = elements.iter().find(|k| u64::from(**k) >= control.shape().stored()) {
            return Err(Error::Setting {
                setting: "watched element",
                value: missing.to_string(),
                expected: "must lie in the watched tensor",
            });
        }
        self.watched = Some((control.clone(), elements));
        Ok(self)
    }

    /// Forgets the history and starts with the first step again, from the next submission on: for a caller that
    /// replaces the state from the host. Counters stay.
    ///
    /// # Errors
    /// [`Error::DeviceFault`] when the device failed.
    pub fn forget(&self, gpu: &Gpu) -> Result<(), Error> {
        gpu.check()?;
        // columns, slot, has_previous, step: words 1 to 4 of the ledger.
        gpu.write_words(&self.ledger, 1, &[0, 0, 0, self.config.mode.first_step().to_bits()])
    }

    /// Records the opening of a sweep, before anything changes the state: keeps x_k.
    ///
    /// # Errors
    /// Those of [`PlanBuilder::dispatch`].
    pub fn before(&self, plan: &mut PlanBuilder) -> Result<(), Error> {
        let (watched, [first, second]) = match &self.watched {
            Some((control, elements)) => (control, *elements),
            None => (&self.gram, [0, 0]),
        };
        let params = OpenParams {
            watching: self.watched.is_some().into(),
            first,
            second,
            memory: self.config.memory,
            start: self.config.start,
            period: self.config.period,
            extrapolating: (self.config.mode == Mode::Extrapolate).into(),
            first_step: self.config.mode.first_step(),
        };
        kernel::open(plan, watched, &self.ledger, params)?;
        for (piece, history) in self.histories() {
            elementwise::copy(plan, &piece.live, &history.before)?;
        }
        Ok(())
    }

    /// Records what a sweep adds to the history, after the sweep.
    ///
    /// # Errors
    /// Those of [`PlanBuilder::dispatch`].
    pub fn push(&self, plan: &mut PlanBuilder) -> Result<(), Error> {
        for (piece, history) in self.histories() {
            let args = Columns {
                live: &piece.live,
                x: &history.before,
                ledger: &self.ledger,
                f: &history.residual,
                g: &piece.image,
                history: &history.columns,
                partials: &self.partials,
                memory: self.config.memory,
                offset: history.offset,
                chunks: self.chunks,
            };
            kernel::columns(plan, &args)?;
        }
        Ok(())
    }

    /// Records the search for weights and the decision to try a candidate. Needed after every [`Anderson::push`]: it
    /// also adds up the newest column's products.
    ///
    /// # Errors
    /// Those of [`PlanBuilder::dispatch`].
    pub fn solve(&self, plan: &mut PlanBuilder) -> Result<(), Error> {
        if self.config.mode == Mode::Extrapolate {
            return Ok(());
        }
        let args = Solve {
            partials: &self.partials,
            chunks: self.chunks,
            gram: &self.gram,
            ledger: &self.ledger,
            memory: self.config.memory,
            regularisation: self.config.regularisation,
        };
        kernel::solve(plan, &args)
    }

    /// Records the candidate, and that dependants are put aside for it.
    ///
    /// # Errors
    /// Those of [`PlanBuilder::dispatch`].
    pub fn mix(&self, plan: &mut PlanBuilder) -> Result<(), Error> {
        for dependant in &self.dependants {
            kernel::copy_where(plan, &dependant.live, When::Always, &self.ledger, &dependant.kept)?;
        }
        for Piece { live, image, history } in &self.pieces {
            match history {
                Some(history) => {
                    kernel::mix(plan, image, (&history.columns, self.config.memory), &self.ledger, live)?;
                }
                None => kernel::extrapolate(plan, &self.ledger, live, image)?,
            }
        }
        Ok(())
    }

    /// Records the judgement of the candidate by two merits, the smaller the better: of g_k before [`Anderson::mix`],
    /// and of the candidate with its dependants. Each is a tensor of f32 and the element in it.
    ///
    /// # Errors
    /// [`Error::Shape`] when a tensor has no such element or is not of f32, and those of [`PlanBuilder::dispatch`].
    pub fn judge(
        &self,
        plan: &mut PlanBuilder,
        merit_before: (&Tensor, u32),
        merit_after: (&Tensor, u32),
    ) -> Result<(), Error> {
        kernel::judge(plan, merit_before, merit_after, &self.ledger, self.config.mode.rule())
    }

    /// Records that a candidate which was not kept gives way: state and dependants are again what they were before
    /// [`Anderson::mix`], bit for bit. So are dependants where nothing was tried.
    ///
    /// # Errors
    /// Those of [`PlanBuilder::dispatch`].
    pub fn restore(&self, plan: &mut PlanBuilder) -> Result<(), Error> {
        for Piece { live, image, .. } in &self.pieces {
            kernel::copy_where(plan, image, When::Rejected, &self.ledger, live)?;
        }
        for Dependant { live, kept } in &self.dependants {
            kernel::copy_where(plan, kept, When::NotKept, &self.ledger, live)?;
        }
        Ok(())
    }

    /// The settings.
    pub fn config(&self) -> &AndersonConfig {
        &self.config
    }

    /// The words in which kernels decide and count, for a ring that is read late: [`Tally::from_words`] reads them.
    pub fn ledger(&self) -> &Tensor {
        &self.ledger
    }

    /// What happened so far. Waits for the device.
    ///
    /// # Errors
    /// [`Error::DeviceFault`] when the device failed.
    pub fn tally(&self, gpu: &Gpu) -> Result<Tally, Error> {
        Ok(Tally::from_words(&gpu.read_u32(&self.ledger)?))
    }

    /// Bytes of device memory: [`Cost::kept`] for each stored element of the state, four for each of the dependants,
    /// and the rest in ledger, Gram matrix and partial sums.
    pub fn bytes(&self) -> u64 {
        let histories = self.histories().flat_map(|(_, history)| {
            [&history.before, &history.residual, &history.columns].map(Tensor::bytes)
        });
        let images = self.pieces.iter().map(|piece| piece.image.bytes());
        let dependants = self.dependants.iter().map(|dependant| dependant.kept.bytes());
        histories.chain(images).chain(dependants).sum::<u64>() + self.overhead()
    }

    /// The part of [`Anderson::bytes`] that is neither state nor dependants.
    pub fn overhead(&self) -> u64 {
        [&self.ledger, &self.gram, &self.partials].map(Tensor::bytes).iter().sum()
    }

    fn histories(&self) -> impl Iterator<Item = (&Piece, &History)> {
        self.pieces.iter().filter_map(|piece| Some((piece, piece.history.as_ref()?)))
    }
}

impl Piece {
    /// Memory for some rows of the state; adds their partial sums to the length of the lists.
    fn new(gpu: &Gpu, config: &AndersonConfig, live: Tensor, chunks: &mut u32) -> Result<Self, Error> {
        let shape = live.shape();
        let copy = || gpu.zeros(shape, StorageType::F32);
        let image = copy()?;
        if config.mode == Mode::Extrapolate {
            return Ok(Self { live, image, history: None });
        }
        let columns = gpu.zeros(history_shape(shape, config.memory), config.history.storage())?;
        let history = History { before: copy()?, residual: copy()?, columns, offset: *chunks };
        *chunks += column_partials(gpu.capabilities().class, &live);
        Ok(Self { live, image, history: Some(history) })
    }
}

/// A state tensor in portions of rows whose history fits one binding.
fn cut(gpu: &Gpu, config: &AndersonConfig, tensor: &Tensor) -> Result<Vec<Tensor>, Error> {
    let shape = tensor.shape();
    if config.mode == Mode::Extrapolate {
        return Ok(vec![tensor.clone()]);
    }
    let row = history_shape(Shape::new(1, shape.columns), config.memory).stored();
    let row_bytes = row * config.history.storage().bytes();
    let allowed = gpu.capabilities().binding_limit;
    let rows = u32::try_from(allowed / row_bytes).unwrap_or(u32::MAX);
    if rows >= shape.rows {
        return Ok(vec![tensor.clone()]);
    }
    // A view begins at a multiple of 16 rows.
    let rows = rows / 16 * 16;
    if rows == 0 {
        return Err(Error::Limit {
            what: format!("an accelerator's history of a tensor of {shape}"),
            needed: format!("{} MiB", (row_bytes * u64::from(shape.rows.min(16))).div_ceil(1 << 20)),
            allowed: format!("{:.1} MiB in one binding", allowed as f64 / f64::from(1 << 20)),
            remedy: "use a smaller memory, a history of bf16, or extrapolation, which has none",
        });
    }
    let starts = (0..shape.rows).step_by(rows as usize);
    starts.map(|start| tensor.row_range(start..shape.rows.min(start + rows))).collect()
}

/// Refuses tensors of other elements.
fn expect_elements(
    what: &str,
    tensors: &[Tensor],
    is_right: impl Fn(StorageType) -> bool,
) -> Result<(), Error> {
    match tensors.iter().position(|tensor| !is_right(tensor.storage())) {
        None => Ok(()),
        Some(k) => {
            let detail = format!(
                "{what} tensor {k} is stored as {:?}; elements must be of four bytes, and those of a state F32",
                tensors[k].storage()
            );
            Err(Error::Shape { kernel: kernel::COLUMNS.name, detail })
        }
    }
}

/// What an accelerator did, as its ledger says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// Sweeps opened.
    pub sweeps: u32,
    /// Candidates judged.
    pub tries: u32,
    /// Candidates kept.
    pub accepts: u32,
    /// Candidates whose merit was larger.
    pub rejects_by_merit: u32,
    /// Candidates judged by a merit that was not finite.
    pub rejects_not_finite: u32,
    /// Solves that gave nothing usable.
    pub skips: u32,
    /// Times the history was forgotten on the device.
    pub clears: u32,
    /// Whether the last sweep's candidate, if it had one, was judged and rejected.
    pub rejected: bool,
    /// Whether the last sweep had a candidate.
    pub tried: bool,
    /// Columns of the history that hold something; none when extrapolating.
    pub columns: u32,
    /// Columns that the last solve used.
    pub rank: u32,
    /// Step t, or β, of the candidate that comes next.
    pub step: f32,
    /// Step of the last candidate that was judged.
    pub last_step: f32,
    /// γ of the last solve, in the order in which columns lie in memory.
    pub weights: Vec<f32>,
}

impl Tally {
    /// Reads a ledger's words.
    ///
    /// # Panics
    /// If there are fewer than [`LEDGER_LENGTH`].
    pub fn from_words(words: &[u32]) -> Self {
        Self {
            sweeps: words[0],
            columns: words[1],
            step: f32::from_bits(words[4]),
            tried: words[7] != 0,
            rejected: words[8] != 0,
            tries: words[9],
            accepts: words[10],
            rejects_by_merit: words[11],
            rejects_not_finite: words[12],
            skips: words[13],
            clears: words[14],
            last_step: f32::from_bits(words[15]),
            rank: words[19],
            weights: words[20..LEDGER_LENGTH as usize].iter().map(|word| f32::from_bits(*word)).collect(),
        }
    }
}

/// A map, accelerated: for callers that have one and no solver around it.
#[derive(Debug)]
pub struct FixedPoint {
    gpu: Gpu,
    anderson: Anderson,
    plan: Plan,
}

impl FixedPoint {
    /// Records one accelerated iteration. `map` records x ↦ g(x) on `state` in place; `merit` records what the state is
    /// worth, the smaller the better, and leaves it in the first of at least four elements. It is called twice, and
    /// must depend on the state alone.
    ///
    /// # Errors
    /// As [`Anderson::new`], those of the two closures, and those of [`PlanBuilder::finish`].
    pub fn new(
        gpu: &Gpu,
        config: &AndersonConfig,
        state: &[Tensor],
        map: impl FnOnce(&mut PlanBuilder) -> Result<(), Error>,
        mut merit: impl FnMut(&mut PlanBuilder, &Tensor) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let anderson = Anderson::new(gpu, config, state, &[])?;
        let (before, after) = (merit_slot(gpu)?, merit_slot(gpu)?);
        let mut plan = PlanBuilder::new(gpu, "fixed point");
        anderson.before(&mut plan)?;
        map(&mut plan)?;
        anderson.push(&mut plan)?;
        anderson.solve(&mut plan)?;
        merit(&mut plan, &before)?;
        anderson.mix(&mut plan)?;
        merit(&mut plan, &after)?;
        anderson.judge(&mut plan, (&before, 0), (&after, 0))?;
        anderson.restore(&mut plan)?;
        Ok(Self { gpu: gpu.clone(), anderson, plan: plan.finish()? })
    }

    /// Hands `iterations` to the queue, without waiting.
    ///
    /// # Errors
    /// [`Error::DeviceFault`] when the device failed.
    pub fn run(&self, iterations: u32) -> Result<(), Error> {
        let mut batch = Batch::new(&self.gpu);
        batch.replay(&self.plan, iterations)?;
        batch.submit()
    }

    /// One iteration.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The accelerator.
    pub fn anderson(&self) -> &Anderson {
        &self.anderson
    }
}

/// Room for a merit.
fn merit_slot(gpu: &Gpu) -> Result<Tensor, Error> {
    gpu.zeros(Shape::vector(4), StorageType::F32)
}
