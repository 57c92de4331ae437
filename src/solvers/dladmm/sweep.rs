//! One iteration as a plan: the backward and the forward sweep, the dual step, scores and the record.
//!
//! ```text
//! backward  z_L b_L W_L; l = L−1…1: a_l z_l b_l W_l       forward  l = 1…L−1: W_l b_l z_l a_l; W_L b_L z_L; u
//! ```
//!
//! What all modes share is here: steps of b, z and u, the terms of the augmented Lagrangian, scores and the record. How
//! W and a are stepped is each mode's own: [`exact`], or of the two that follow the gradient ([`gradient`]),
//! [`line_search`] or [`quadratic`], the latter with [`proximal`] where a penalty is not smooth.

mod accelerated;
mod exact;
mod gradient;
mod line_search;
mod proximal;
mod quadratic;

use super::Plans;
use super::config::{Config, Loss, Penalty, Schedule, Steps, SweepKind, ZLast};
use super::forward;
use super::state::{State, WeightsSystem};
use super::telemetry::{Layout, RING_LENGTH};
use crate::Error;
use crate::engine::{Arena, Gpu, Plan, PlanBuilder, SampleTensor, Shape, Slab, StorageType, Tensor};
use crate::kernels::dladmm::{self as kernel, Dual, HiddenTerms};
use crate::kernels::linalg::{self, Transposed};
use crate::kernels::mlp::Gradients;
use crate::kernels::sparse::{self, Onto};
use crate::kernels::{elementwise, reduce};
use crate::models::mlp::Inputs as Below;
use crate::solvers::anderson::Anderson;
use crate::solvers::scoring::{self, Inputs, Scoring, offsets};

/// Width from which the authors' code starts the curvature searches higher as well.
const WIDE: u32 = 100;

/// Records every plan of a run.
pub(super) fn record_plans(
    gpu: &Gpu,
    config: &Config,
    state: &State,
    accelerator: Option<&Anderson>,
    layout: Layout,
    (arena, systems): (&Arena, Plan),
) -> Result<Plans, Error> {
    let mut origins = Vec::new();
    let mut record = |candidate: bool, evaluated: bool| {
        let label = if evaluated { "iteration with scores" } else { "iteration" };
        let mut sweep = Sweep::new(PlanBuilder::with_arena(gpu, label, arena), state, config);
        sweep.iteration(accelerator, candidate, layout, evaluated)?;
        origins = std::mem::take(&mut sweep.origins);
        sweep.plan.finish()
    };
    let plain = [record(false, false)?, record(false, true)?];
    let with_candidate = match accelerator {
        Some(_) => [record(true, false)?, record(true, true)?],
        None => plain.clone(),
    };
    let mut refresh = PlanBuilder::with_arena(gpu, "refresh", arena);
    // With the Gram matrix every iteration forms P_1 afresh anyway.
    let first = if state.gram.is_some() && !config.steps.is_exact() { 2 } else { 1 };
    for l in first..=state.depth() {
        let layer = state.layer(l);
        forward::products(&mut refresh, state.below(l), &layer.weights, &layer.product)?;
    }
    Ok(Plans { iterations: [plain, with_candidate], refresh: refresh.finish()?, systems, origins })
}

/// For each layer a place, where what exact steps solve it with outlasts a sweep, and a plan that leaves it there and settles
/// the layer's ridge.
pub(super) fn kept_systems(
    gpu: &Gpu,
    config: &Config,
    state: &State,
    arena: &Arena,
) -> Result<(Vec<Option<WeightsSystem>>, Plan), Error> {
    let mut sweep = Sweep::new(PlanBuilder::with_arena(gpu, "systems", arena), state, config);
    let mut kept = vec![None; state.depth()];
    if let Steps::Exact(exact) = config.steps {
        for l in 1..=state.depth() {
            // Sparse inputs of many features have no matrix.
            if config.keeps_system(l) && (l > 1 || state.gram.is_some()) {
                let side = state.widths[l - 1];
                let zeros = |shape| gpu.zeros(shape, StorageType::F32);
                let system = WeightsSystem {
                    matrix: zeros(Shape::new(side, side))?,
                    sums: zeros(Shape::vector(side))?,
                };
                sweep.weights_system_into(l, exact, &system)?;
                kept[l - 1] = Some(system);
            }
        }
    }
    Ok((kept, sweep.plan.finish()?))
}

/// Relative distance of each resident product from one formed afresh.
pub(super) fn product_drift(gpu: &Gpu, state: &State) -> Result<Vec<f32>, Error> {
    let depth = state.depth() as u32;
    let totals = gpu.zeros(Shape::new(depth, 4), StorageType::F32)?;
    let status = gpu.zeros(Shape::vector(kernel::STATUS_LENGTH), StorageType::U32)?;
    let mut plan = PlanBuilder::new(gpu, "product drift");
    for l in 1..=state.depth() {
        let layer = state.layer(l);
        let fresh = temporary_like(&mut plan, &layer.product)?;
        forward::products(&mut plan, state.below(l), &layer.weights, &fresh)?;
        let (offsets, count) = offsets(fresh.blocks().iter().map(reduce::partial_count));
        let partials = plan.temporary(Shape::new(count, 4));
        for (k, (fresh, resident)) in fresh.blocks().iter().zip(layer.product.blocks()).enumerate() {
            reduce::dots(&mut plan, fresh, resident, &partials, offsets[k])?;
        }
        let slot = l as u32 - 1;
        let totals = &totals;
        reduce::totals(
            &mut plan,
            reduce::Totals { partials: &partials, count, totals, slot, status: &status, origin: 1 },
        )?;
    }
    plan.finish()?.run()?;
    let sums = gpu.read(&totals)?;
    Ok(sums.chunks_exact(4).map(|sums| (sums[3] / sums[1].max(f32::MIN_POSITIVE)).sqrt()).collect())
}

/// Temporaries in the blocks of a sample-side tensor.
fn temporary_like(plan: &mut PlanBuilder, model: &SampleTensor) -> Result<SampleTensor, Error> {
    SampleTensor::new(model.cut(), model.features(), |shape| Ok(plan.temporary(shape)))
}

/// b ← b − mean over samples of P + b − goal.
fn mean_step(
    plan: &mut PlanBuilder,
    product: &SampleTensor,
    goal: &SampleTensor,
    bias: &Tensor,
) -> Result<(), Error> {
    let cut = product.cut();
    let (offsets, rows) = offsets(cut.blocks().map(|samples| kernel::sum_rows(samples.len() as u32)));
    let partials = plan.temporary(Shape::new(rows, product.features()));
    for (k, (product, goal)) in product.blocks().iter().zip(goal.blocks()).enumerate() {
        kernel::residual_sums(plan, product, bias, goal, &partials, offsets[k])?;
    }
    kernel::bias_step(plan, &partials, cut.samples(), bias)
}

/// Σ over samples of r xᵀ, x sparse inputs, onto `sum`, a matrix as a row: how for the first block, and how for the others.
fn add_products(
    plan: &mut PlanBuilder,
    state: &State,
    residual: &SampleTensor,
    sum: &Tensor,
    [first, others]: [Onto; 2],
) -> Result<(), Error> {
    for (k, (residual, below)) in residual.blocks().iter().zip(state.below(1)).enumerate() {
        let Below::Sparse(below) = below else { continue };
        let onto = if k == 0 { first } else { others };
        sparse::weight_gradient(plan, residual, below.columns(), Gradients { rows: sum, first: 0 }, onto)?;
    }
    Ok(())
}

/// An iteration being recorded.
struct Sweep<'a> {
    plan: PlanBuilder,
    state: &'a State,
    config: &'a Config,
    /// The next quadratic step's number.
    slot: u32,
    /// Places that can note a value that is not finite; a place's number is its position, counted from 1.
    origins: Vec<String>,
    /// z_L + u/ρ, from the backward z_L step to the forward b_L step.
    goal: Option<SampleTensor>,
    /// Layer 1's gradient between the two steps of W_1.
    first_gradient: Option<Tensor>,
    /// What exact steps of a_l solve with, from layer 2's W to the last one's: the backward step leaves it for the forward
    /// one, between which W_{l+1} stands still.
    solved_weights: Vec<Option<exact::SolvedWeights>>,
    /// Means over samples of what exact steps of W_l draw W_l a_{l−1} + b_l to, from layer 1's: the backward step leaves one
    /// for the forward one.
    mean_goals: Vec<Option<Tensor>>,
    /// Set while what is recorded is about a candidate.
    candidate_origin: Option<u32>,
}

impl<'a> Sweep<'a> {
    fn new(plan: PlanBuilder, state: &'a State, config: &'a Config) -> Self {
        Self {
            plan,
            state,
            config,
            slot: 0,
            origins: Vec::new(),
            goal: None,
            first_gradient: None,
            solved_weights: vec![None; state.depth()],
            mean_goals: vec![None; state.depth()],
            candidate_origin: None,
        }
    }
}

impl Sweep<'_> {
    fn iteration(
        &mut self,
        accelerator: Option<&Anderson>,
        candidate: bool,
        layout: Layout,
        evaluated: bool,
    ) -> Result<(), Error> {
        for (part, kept) in self.state.parts().iter().zip(&self.state.kept) {
            kernel::keep(&mut self.plan, part, &self.state.status, kept)?;
        }
        if let Some(accelerator) = accelerator {
            accelerator.before(&mut self.plan)?;
        }
        match self.config.steps {
            Steps::Quadratic | Steps::LineSearch => {
                self.gradient_backward()?;
                self.gradient_forward()?;
            }
            Steps::Exact(exact) => {
                self.exact_backward(exact)?;
                if exact.sweep == SweepKind::Full {
                    self.exact_forward(exact)?;
                }
            }
        }
        self.terms(Dual::Steps)?;
        // Numbered before the scores, so that all plans number their places alike.
        let origin = self.origin(kernel::RECORD.name.into());
        if let Some(accelerator) = accelerator {
            self.accelerate(accelerator, candidate)?;
        }
        if evaluated {
            self.scores()?;
        }
        let ledger = accelerator.map_or(&self.state.no_ledger, Anderson::ledger).clone();
        self.record(layout, evaluated, origin, &ledger)
    }

    /// A new number for a place that can note a value that is not finite; while a candidate is judged, that of the
    /// iteration's record, because what a candidate notes is taken back with it.
    fn origin(&mut self, place: String) -> u32 {
        if let Some(origin) = self.candidate_origin {
            return origin;
        }
        self.origins.push(place);
        self.origins.len() as u32
    }

    fn next_slot(&mut self) -> u32 {
        self.slot += 1;
        self.slot - 1
    }

    fn is_last(&self, l: usize) -> bool {
        l == self.state.depth()
    }

    fn z_last(&mut self) -> Result<(), Error> {
        let state = self.state;
        if let (Loss::CrossEntropy, ZLast::Fista { iterations, eta, tolerance }) =
            (self.config.loss, self.config.z_last)
            && tolerance > 0.0
        {
            self.look_for_stop(iterations, eta, tolerance)?;
        }
        for k in 0..state.dual.blocks().len() {
            let args = state.last_layer(k);
            match (self.config.loss, self.config.z_last) {
                (Loss::Squared, _) => kernel::squared_z(&mut self.plan, &args)?,
                (Loss::CrossEntropy, ZLast::Fista { iterations, eta, .. }) => {
                    kernel::fista(&mut self.plan, &args, iterations, eta)?;
                }
                (Loss::CrossEntropy, ZLast::Newton) => kernel::newton(&mut self.plan, &args)?,
            }
        }
        Ok(())
    }

    /// Finds out how many steps FISTA is to take, all blocks of samples alike.
    fn look_for_stop(&mut self, iterations: u32, eta: f32, tolerance: f32) -> Result<(), Error> {
        let state = self.state;
        let class = self.plan.gpu().capabilities().class;
        let rows = |k: usize| kernel::fista_change_rows(class, state.last_layer(k).z.shape());
        let blocks = 0..state.dual.blocks().len();
        for stage in kernel::fista_stages(iterations) {
            let changes =
                self.plan.temporary(Shape::new(blocks.clone().map(rows).sum(), stage.end - stage.start));
            let mut first_row = 0;
            for k in blocks.clone() {
                let args = state.last_layer(k);
                kernel::fista_changes(&mut self.plan, &args, &stage, eta, (&changes, first_row))?;
                first_row += rows(k);
            }
            kernel::fista_stop(&mut self.plan, &changes, &state.control, &stage, (iterations, tolerance))?;
        }
        Ok(())
    }

    fn form_goal(&mut self) -> Result<(), Error> {
        let state = self.state;
        let z = &state.layer(state.depth()).z;
        let goal = temporary_like(&mut self.plan, z)?;
        for ((z, dual), goal) in z.blocks().iter().zip(state.dual.blocks()).zip(goal.blocks()) {
            kernel::dual_target(&mut self.plan, z, dual, &state.control, goal)?;
        }
        self.goal = Some(goal);
        Ok(())
    }

    /// What W_l a_{l−1} + b_l is drawn to.
    fn goal(&self, l: usize) -> SampleTensor {
        match (&self.goal, self.is_last(l)) {
            (Some(goal), true) => goal.clone(),
            _ => self.state.layer(l).z.clone(),
        }
    }

    fn residual(&mut self, l: usize) -> Result<SampleTensor, Error> {
        let layer = self.state.layer(l);
        let goal = self.goal(l);
        let residual = temporary_like(&mut self.plan, &layer.product)?;
        for ((product, goal), residual) in
            layer.product.blocks().iter().zip(goal.blocks()).zip(residual.blocks())
        {
            kernel::residual(&mut self.plan, product, &layer.bias, goal, residual)?;
        }
        Ok(residual)
    }

    /// Σ over samples of r aᵀ, a the inputs of layer l: as a row, where the inputs are sparse, and as itself.
    fn outer(&mut self, l: usize, residual: &SampleTensor) -> Result<(Tensor, Tensor), Error> {
        let state = self.state;
        let shape = state.layer(l).weights.shape();
        if state.below(l).any(|below| matches!(below, Below::Sparse(_))) {
            let (flat, outer) = self.flat(shape)?;
            elementwise::fill(&mut self.plan, &flat, 0.0)?;
            add_products(&mut self.plan, state, residual, &flat, [Onto::Sum; 2])?;
            return Ok((flat, outer));
        }
        let outer = self.plan.temporary(shape);
        elementwise::fill(&mut self.plan, &outer, 0.0)?;
        for (residual, below) in residual.blocks().iter().zip(state.below(l)) {
            let Below::Dense(below) = below else { continue };
            let (left, right) = ((residual, Transposed::Yes), (below, Transposed::No));
            linalg::matmul_add(&mut self.plan, left, right, &outer)?;
        }
        Ok((outer.clone(), outer))
    }

    /// A temporary of this shape, as the only row of a slab and as itself.
    fn flat(&mut self, shape: Shape) -> Result<(Tensor, Tensor), Error> {
        let slab = Slab::new(&[shape])?;
        let flat = self.plan.temporary(slab.shape(1));
        let itself = slab.part(&flat, 0, 0)?;
        Ok((flat, itself))
    }

    fn bias(&mut self, l: usize) -> Result<(), Error> {
        let layer = self.state.layer(l);
        let goal = self.goal(l);
        mean_step(&mut self.plan, &layer.product, &goal, &layer.bias)
    }

    fn z_hidden(&mut self, l: usize) -> Result<(), Error> {
        let layer = self.state.layer(l);
        let activation = self.state.output(l);
        for (k, product) in layer.product.blocks().iter().enumerate() {
            let (activation, z) = (&activation.blocks()[k], &layer.z.blocks()[k]);
            kernel::hidden_z(&mut self.plan, product, &layer.bias, activation, z, self.config.activation)?;
        }
        Ok(())
    }

    /// Adds (λ/κ) `weights` to `gradient`, unless λ is 0; `l` is the weights' layer.
    fn penalise(&mut self, weights: &Tensor, l: usize, lambda: f32, gradient: &Tensor) -> Result<(), Error> {
        let penalty = (lambda, self.is_last(l));
        match lambda {
            0.0 => Ok(()),
            _ => kernel::weight_penalty(&mut self.plan, weights, &self.state.control, penalty, gradient),
        }
    }

    /// The dual step, if it is to be taken, and every term of the augmented Lagrangian.
    fn terms(&mut self, dual: Dual) -> Result<(), Error> {
        let state = self.state;
        if self.config.steps.is_exact() || self.config.penalty != Penalty::None {
            self.weight_terms()?;
        }
        for l in 1..state.depth() {
            let layer = state.layer(l);
            let (offsets, count) = offsets(layer.product.blocks().iter().map(reduce::partial_count));
            let partials = self.plan.temporary(Shape::new(count, 4));
            for (k, product) in layer.product.blocks().iter().enumerate() {
                let args = HiddenTerms {
                    product,
                    bias: &layer.bias,
                    z: &layer.z.blocks()[k],
                    activation: &state.output(l).blocks()[k],
                    f: self.config.activation,
                    partials: &partials,
                    offset: offsets[k],
                };
                kernel::hidden_terms(&mut self.plan, args)?;
            }
            let place = format!("{} of layer {l}", kernel::HIDDEN_TERMS.name);
            self.totals(&partials, count, l as u32 - 1, place)?;
        }
        let (offsets, count) =
            offsets(state.cut.blocks().map(|samples| kernel::dual_partial_count(samples.len() as u32)));
        let partials = self.plan.temporary(Shape::new(count, 4));
        for (k, offset) in offsets.into_iter().enumerate() {
            let (plan, loss) = (&mut self.plan, self.config.loss);
            kernel::dual_step(plan, &state.last_layer(k), loss, dual, &partials, offset)?;
        }
        self.totals(&partials, count, state.depth() as u32 - 1, kernel::DUAL_STEP.name.into())
    }

    /// ‖W‖² and ‖W‖₁ of each layer, for what ridge and penalty add to the augmented Lagrangian.
    fn weight_terms(&mut self) -> Result<(), Error> {
        let state = self.state;
        let first = state.depth() as u32 + 2;
        for (slot, layer) in (first..).zip(&state.layers) {
            let count = reduce::partial_count(&layer.weights);
            let partials = self.plan.temporary(Shape::new(count, 4));
            kernel::weight_terms(&mut self.plan, &layer.weights, &partials, 0)?;
            let place = format!("{} of W{}", kernel::WEIGHT_TERMS.name, slot + 1 - first);
            self.totals(&partials, count, slot, place)?;
        }
        Ok(())
    }

    fn totals(&mut self, partials: &Tensor, count: u32, slot: u32, place: String) -> Result<(), Error> {
        let origin = self.origin(place);
        let (totals, status) = (&self.state.totals, &self.state.status);
        reduce::totals(&mut self.plan, reduce::Totals { partials, count, totals, slot, status, origin })
    }

    /// Forward passes over training and test data with the new W and b.
    fn scores(&mut self) -> Result<(), Error> {
        let state = self.state;
        let slot = state.depth() as u32;
        self.score(&state.train, Some(&state.layer(1).product), (&state.totals, slot))?;
        match &state.test {
            Some(test) => self.score(test, None, (&state.totals, slot + 1)),
            None => Ok(()),
        }
    }

    /// A row of sums over a forward pass; W_1 x may be at hand.
    fn score(
        &mut self,
        inputs: &Inputs,
        first_product: Option<&SampleTensor>,
        (totals, slot): (&Tensor, u32),
    ) -> Result<(), Error> {
        let state = self.state;
        let layers: Vec<_> = state.layers.iter().map(|layer| (&layer.weights, &layer.bias)).collect();
        let Config { activation: f, loss, .. } = *self.config;
        let origin = self.origin(format!("{} of a forward pass", scoring::scores_kernel(loss)));
        let (layers, status) = (layers.as_slice(), &state.status);
        let scoring = Scoring { inputs, layers, f, loss, first_product, totals, slot, status, origin };
        scoring::scores(&mut self.plan, &scoring)
    }

    fn record(&mut self, layout: Layout, evaluated: bool, origin: u32, ledger: &Tensor) -> Result<(), Error> {
        let state = self.state;
        let params = kernel::RecordParams {
            layers: layout.layers,
            slots: layout.exponents(),
            record_length: layout.record_length(),
            ring_length: RING_LENGTH,
            schedule: match self.config.schedule {
                Schedule::Constant => 0,
                Schedule::Paper => 1,
                Schedule::Official => 2,
            },
            evaluated: evaluated.into(),
            wide: self.config.hidden.iter().any(|width| *width >= WIDE).into(),
            origin,
            samples: state.cut.samples() as f32,
        };
        let args = kernel::Record {
            totals: &state.totals,
            steps: &state.steps,
            control: &state.control,
            status: &state.status,
            ridge: &state.ridge,
            ledger,
            ring: &state.ring,
        };
        kernel::record(&mut self.plan, &args, params)
    }
}
