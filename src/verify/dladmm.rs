//! Cases of `kernels::dladmm`.

use std::ops::Range;

use rand::RngExt;

use super::call::{Call, Session};
use super::elementwise::NOT_FINITE;
use super::expected::{Bound, Expected, Verdict};
use super::loss::{cost_roundings, labels, sizes};
use super::reduce::{OFFSET, chunks, list, shows_in, status_words, summing_roundings, sums};
use super::values::{Profile, activations, operands};
use crate::Error;
use crate::engine::{Shape, Tensor};
use crate::kernels::anderson::LEDGER_LENGTH;
use crate::kernels::loss::Loss;
use crate::kernels::{Activation, dladmm as kernel, linalg};
use crate::reference::dladmm::{self as oracle, Block, Control, Schedule, Status};
use crate::reference::{Bounded, Matrix};

/// An f32 as the oracle sees it.
fn exact(value: f32) -> f64 {
    f64::from(value)
}

/// The control buffer's words.
pub(super) fn control_row(control: &Control) -> Matrix {
    let Control { rho, nu, tau_0, theta_0, cost, rises, fista_steps } = *control;
    Matrix::new(1, 8, vec![rho, nu, tau_0, theta_0, cost, f64::from(rises), fista_steps, 0.0])
}

fn penalties(rho: f32, nu: f32) -> Control {
    Control::new(exact(rho), exact(nu), 1.0, 1.0)
}

pub(super) fn dual_target(session: &mut Session<'_>) -> Result<(), Error> {
    for (shape, profile) in operands(session.effort()) {
        let (z, dual) = (session.matrix(shape, profile), session.matrix(shape, profile));
        for rho in [1e-6, 0.3] {
            let control = penalties(rho, 1.0);
            let goal = oracle::dual_target(&z, &dual, control.rho);
            // A quotient may be off by 2.5 ULPs, then a sum.
            let bound = Bound::roundings(4).amplified(1.0 / control.rho);
            session.check(&format!("{shape}, {profile}, ρ = {rho}"), |call| {
                let (z, dual) = (call.input("z", &z)?, call.input("dual", &dual)?);
                let control = call.input("control", &control_row(&control))?;
                let goal = call.output("goal", shape, Expected::near(&goal, bound))?;
                kernel::dual_target(&mut call.plan, &z, &dual, &control, &goal)
            })?;
        }
    }
    Ok(())
}

/// Product, bias and goal of a layer.
struct Layer {
    case: String,
    product: Matrix,
    bias: Matrix,
    goal: Matrix,
}

impl Layer {
    fn new(session: &mut Session<'_>, shape: Shape, profile: Profile) -> Self {
        let bias = session.matrix(Shape::vector(shape.columns), profile);
        let (product, goal) = (session.matrix(shape, profile), session.matrix(shape, profile));
        Self { case: format!("{shape}, {profile}"), product, bias, goal }
    }

    fn all(session: &mut Session<'_>) -> Vec<Self> {
        let operands = operands(session.effort());
        operands.into_iter().map(|(shape, profile)| Self::new(session, shape, profile)).collect()
    }

    fn inputs(&self, call: &mut Call<'_>) -> Result<[Tensor; 3], Error> {
        Ok([
            call.input("product", &self.product)?,
            call.input("bias", &self.bias)?,
            call.input("goal", &self.goal)?,
        ])
    }
}

pub(super) fn residual(session: &mut Session<'_>) -> Result<(), Error> {
    for layer in Layer::all(session) {
        let expected = oracle::residual(&layer.product, &layer.bias, &layer.goal);
        session.check(&layer.case, |call| {
            let [product, bias, goal] = layer.inputs(call)?;
            let residual =
                call.output("residual", product.shape(), Expected::near(&expected, Bound::roundings(2)))?;
            kernel::residual(&mut call.plan, &product, &bias, &goal, &residual)
        })?;
    }
    for odd in NOT_FINITE {
        let mut layer = Layer::new(session, Shape::new(3, 5), Profile::Ordinary);
        layer.bias[(0, 2)] = odd;
        let expected = oracle::residual(&layer.product, &layer.bias, &layer.goal);
        session.check(&format!("{odd} in bias[0, 2]"), |call| {
            let [product, bias, goal] = layer.inputs(call)?;
            let column = Expected::not_finite(&expected, Bound::roundings(2), |index| index % 5 == 2);
            let residual = call.output("residual", product.shape(), column)?;
            kernel::residual(&mut call.plan, &product, &bias, &goal, &residual)
        })?;
    }
    Ok(())
}

pub(super) fn residual_sums(session: &mut Session<'_>) -> Result<(), Error> {
    let mut layers = Layer::all(session);
    if session.is_full() {
        layers.push(Layer::new(session, Shape::new(4096, 17), Profile::Ordinary));
    }
    for layer in layers {
        let sums = oracle::residual_sums(&layer.product, &layer.bias, &layer.goal);
        let (rows, columns) = (sums.value.rows() as u32, sums.value.cols());
        session.check(&layer.case, |call| {
            let [product, bias, goal] = layer.inputs(call)?;
            // Two roundings in each term, then at most 64 additions.
            let (bound, first) = (Bound::roundings(2 + oracle::SUM_CHUNK), OFFSET as usize * columns);
            let partials = call.output(
                "partials",
                Shape::new(OFFSET + rows + 1, columns as u32),
                Expected::Near { value: &sums, bound, first },
            )?;
            kernel::residual_sums(&mut call.plan, &product, &bias, &goal, &partials, OFFSET)
        })?;
    }
    Ok(())
}

pub(super) fn bias_step(session: &mut Session<'_>) -> Result<(), Error> {
    let mut cases = vec![(1, 1, 1), (2, 10, 70), (65, 5, 4_100), (0, 5, 0), (3, 0, 130)];
    if session.is_full() {
        cases.extend([(64, 257, 4_096), (1_563, 33, 100_003)]);
    }
    for (chunks, features, samples) in cases {
        for profile in [Profile::Ordinary, Profile::Spread, Profile::Denormal] {
            let partials = session.matrix(Shape::new(chunks, features), profile);
            let bias = session.matrix(Shape::vector(features), profile);
            let stepped = oracle::bias_step(&partials, samples as usize, &bias);
            // The rounds of a lane, the tree over 64 of them, a quotient of 2.5 ULPs, a difference.
            let bound = Bound::roundings(chunks.div_ceil(64) as usize + 6 + 3 + 1);
            session.check(&format!("{chunks} rows of {features}, {samples} samples, {profile}"), |call| {
                let partials = call.input("partials", &partials)?;
                let bias = call.update("bias", &bias, Expected::near(&stepped, bound))?;
                kernel::bias_step(&mut call.plan, &partials, samples, &bias)
            })?;
        }
    }
    Ok(())
}

pub(super) fn hidden_z(session: &mut Session<'_>) -> Result<(), Error> {
    let mut layers = Layer::all(session);
    for odd in NOT_FINITE {
        let mut layer = Layer::new(session, Shape::new(3, 5), Profile::Ordinary);
        layer.product[(1, 2)] = odd;
        layer.case = format!("{odd} in product[1, 2]");
        layers.push(layer);
    }
    for (f, oracle_f, roundings) in activations() {
        for layer in &layers {
            let expected = oracle::hidden_z(&layer.product, &layer.bias, &layer.goal, oracle_f);
            // What a maximum makes of a NaN is left open, but not what becomes of its neighbours.
            let is_open = |index: usize| !layer.product.data()[index].is_finite();
            session.check(&format!("{f:?}, {}", layer.case), |call| {
                let verdict = Expected::Each(Box::new(|values, index| match is_open(index) {
                    true => Verdict::Near(0.0),
                    false => judge_z(&expected, values[index], index, Bound::roundings(2 + 2 * roundings)),
                }));
                let [product, bias, activation] = layer.inputs(call)?;
                let z = call.output("z", product.shape(), verdict)?;
                kernel::hidden_z(&mut call.plan, &product, &bias, &activation, &z, f)
            })?;
        }
    }
    Ok(())
}

/// The cheaper candidate, or either where rounding decides which that is.
fn judge_z(expected: &oracle::HiddenZ, actual: f32, index: usize, bound: Bound) -> Verdict {
    let pick = |of: &Bounded<Matrix>| (of.value.data()[index], of.magnitude.data()[index]);
    let (kept, magnitude) = pick(&expected.kept);
    let (dropped, _) = pick(&expected.dropped);
    let (margin, cost) = pick(&expected.margin);
    // Each cost is two squares of two roundings each, and their sum.
    let is_close = margin.abs() <= 8.0 * (f64::from(f32::EPSILON) * cost + f64::from(f32::MIN_POSITIVE));
    match Verdict::of(actual, kept, magnitude, bound) {
        Verdict::Not(_) if is_close => Verdict::of(actual, dropped, magnitude, bound),
        verdict => verdict,
    }
}

pub(super) fn activation_gradient(session: &mut Session<'_>) -> Result<(), Error> {
    let mut sizes = vec![(1, 1, 1), (3, 5, 7), (0, 5, 3), (33, 70, 18)];
    if session.is_full() {
        sizes.extend([(5, 3, 0), (65, 63, 65), (130, 70, 10), (12, 130, 40)]);
    }
    let all = activations().into_iter().enumerate();
    let cases = all.flat_map(|(kind, f)| {
        // What an activation changes is the same at any size.
        let sizes = if kind == 0 { &sizes[..] } else { &sizes[1..4] };
        sizes.iter().map(move |size| (*size, f))
    });
    for ((samples, width, above), (f, oracle_f, more)) in cases {
        for last_layer in [false, true] {
            let (residual, weights) = (Shape::new(samples, above), Shape::new(above, width));
            let output = Shape::new(samples, width);
            let [residual, weights, activation, z] =
                [residual, weights, output, output].map(|shape| session.matrix(shape, Profile::Ordinary));
            let control = penalties(0.3, 0.02);
            let (gradient, square) = oracle::activation_gradient(
                &residual,
                &weights,
                &activation,
                &z,
                oracle_f,
                &control,
                last_layer,
            );
            let count = linalg::tile_count(session.gpu(), output);
            // The product's roundings, a factor, a difference with its factor, a sum.
            let roundings = above as usize + 4 + more;
            let case = format!("{f:?}, {samples} × {above} by {above} × {width}, last layer: {last_layer}");
            session.check(&case, |call| {
                let args = kernel::ActivationGradient {
                    residual: &call.input("left", &residual)?,
                    weights: &call.input("right", &weights)?,
                    activation: &call.input("activation", &activation)?,
                    z: &call.input("z", &z)?,
                    f,
                    control: &call.input("control", &control_row(&control))?,
                    last_layer,
                    gradient: &call.output(
                        "gradient",
                        output,
                        Expected::near(&gradient, Bound::roundings(roundings)),
                    )?,
                    partials: &call.output(
                        "partials",
                        list(count, 1),
                        sums(vec![square], 2 * roundings + super::linalg::TILE_ROUNDINGS, count),
                    )?,
                    offset: OFFSET,
                };
                kernel::activation_gradient(&mut call.plan, args)
            })?;
        }
    }
    Ok(())
}

pub(super) fn weight_penalty(session: &mut Session<'_>) -> Result<(), Error> {
    let control = penalties(0.3, 0.02);
    for (shape, profile) in operands(session.effort()) {
        let (weights, gradient) = (session.matrix(shape, profile), session.matrix(shape, profile));
        for last_layer in [false, true] {
            let lambda = 0.01f32;
            let sum = oracle::weight_penalty(&weights, &control, (lambda.into(), last_layer), &gradient);
            session.check(&format!("{shape}, {profile}, last layer: {last_layer}"), |call| {
                let weights = call.input("weights", &weights)?;
                let control = call.input("control", &control_row(&control))?;
                // A quotient of 2.5 ULPs, a product, a sum.
                let near = Expected::near(&sum, Bound::roundings(5));
                let gradient = call.update("gradient", &gradient, near)?;
                kernel::weight_penalty(&mut call.plan, &weights, &control, (lambda, last_layer), &gradient)
            })?;
        }
    }
    for odd in NOT_FINITE {
        let shape = Shape::new(3, 5);
        let (mut weights, gradient) =
            (session.matrix(shape, Profile::Ordinary), session.matrix(shape, Profile::Ordinary));
        weights[(1, 2)] = odd;
        let sum = oracle::weight_penalty(&weights, &control, (1.0, true), &gradient);
        session.check(&format!("{odd} in weights[1, 2]"), |call| {
            let weights = call.input("weights", &weights)?;
            let control = call.input("control", &control_row(&control))?;
            let hit = Expected::not_finite(&sum, Bound::roundings(5), |index| index == 7);
            let gradient = call.update("gradient", &gradient, hit)?;
            kernel::weight_penalty(&mut call.plan, &weights, &control, (1.0, true), &gradient)
        })?;
    }
    Ok(())
}

/// Two lists of partial sums, and what their step size is for.
struct Lists {
    case: String,
    gradient: Matrix,
    product: Matrix,
    control: Control,
    block: kernel::Block,
    last_layer: bool,
    status: Status,
}

/// Lists of many lengths, curvatures from far below the start to far above, and at exact powers of two.
fn lists(session: &mut Session<'_>) -> Vec<Lists> {
    let lengths: &[(u32, u32)] = if session.is_full() {
        &[(1, 1), (3, 64), (257, 65), (4096, 1), (0, 3), (100_003, 257)]
    } else {
        &[(1, 1), (257, 65)]
    };
    let well = Status { iteration: 4, ..Status::default() };
    let mut all = Vec::new();
    for &(gradients, products) in lengths {
        for (block, last_layer) in [
            (kernel::Block::Weights { lambda: 0.0 }, false),
            (kernel::Block::Weights { lambda: 0.0 }, true),
            (kernel::Block::Weights { lambda: 0.7 }, true),
            (kernel::Block::Activation, false),
            (kernel::Block::Activation, true),
        ] {
            let mut squares = |length| session.matrix(Shape::vector(length), Profile::Ordinary).map(f64::abs);
            let (gradient, product) = (squares(gradients), squares(products));
            let scale = (session.rng().random_range(-20..20) as f32).exp2();
            let product = product.map(|square| square * exact(scale));
            let control = Control::new(exact(0.3), exact(0.02), 0.5, 2.0);
            let case = format!("{gradients} and {products} terms, {block:?}, last layer: {last_layer}");
            all.push(Lists { case, gradient, product, control, block, last_layer, status: well });
        }
    }
    let one = |value| Matrix::new(1, 1, vec![value]);
    let (rho_one, block, last_layer) =
        (Control::new(1.0, 0.5, 1.0, 1.0), kernel::Block::Weights { lambda: 0.0 }, true);
    for (gradient, product) in
        [(1.0, 4.0), (1.0, exact(4.0f32.next_up())), (2.0, 1.0), (0.0, 0.0), (0.25, 2.0f64.powi(90))]
    {
        let (gradient, product) = (one(gradient), one(product));
        let case = format!("squares {} and {}", gradient[(0, 0)], product[(0, 0)]);
        all.push(Lists { case, gradient, product, control: rho_one, block, last_layer, status: well });
    }
    for odd in NOT_FINITE {
        let (gradient, product) = (one(1.0), Matrix::new(1, 3, vec![1.0, odd, 1.0]));
        let ill = Status { origin: 2, failed: 1, iteration: 4, dropped: 3 };
        for (case, status) in
            [(format!("{odd} among the products"), well), (format!("{odd} after a failure"), ill)]
        {
            let (gradient, product) = (gradient.clone(), product.clone());
            all.push(Lists { case, gradient, product, control: rho_one, block, last_layer, status });
        }
    }
    all
}

const SLOT: u32 = 1;
const ORIGIN: u32 = 7;

pub(super) fn step_size(session: &mut Session<'_>) -> Result<(), Error> {
    for lists in lists(session) {
        let Lists { case, gradient, product, control, block, last_layer, status } = &lists;
        let oracle_block = match block {
            kernel::Block::Weights { lambda } => Block::Weights { lambda: exact(*lambda) },
            kernel::Block::Activation => Block::Activation,
        };
        let squares = [gradient, product].map(|list| list.data().iter().sum::<f64>());
        let size = oracle::step_size(squares[0], squares[1], control, oracle_block, *last_layer);
        let after = status.after_seeing(squares[0] + squares[1], ORIGIN);
        let start = if oracle_block == Block::Activation { control.tau_0 } else { control.theta_0 };
        // Rounds of a lane and the tree in each sum, two quotients of 2.5 ULPs, a product, a sum.
        let longest = gradient.cols().max(product.cols()).div_ceil(256);
        let bound = Bound::roundings(2 * (longest + 8) + 8);
        session.check(case, |call| {
            let expected = Expected::Each(Box::new(move |values, index| {
                let first = 4 * SLOT as usize;
                match index.checked_sub(first) {
                    Some(place @ 0..4) => judge_step(&values[first..first + 4], place, &size, start, bound),
                    _ if values[index].is_nan() => Verdict::Near(0.0),
                    _ => Verdict::Not("untouched".into()),
                }
            }));
            let steps = call.output("steps", Shape::new(3, 4), expected)?;
            let gradient_list = call.input("gradient", gradient)?;
            let product_list = call.input("product", product)?;
            let args = kernel::StepSize {
                gradient: (&gradient_list, gradient.cols() as u32),
                product: (&product_list, product.cols() as u32),
                control: &call.input("control", &control_row(control))?,
                block: *block,
                last_layer: *last_layer,
                steps: &steps,
                slot: SLOT,
                status: &call.words(
                    "status",
                    &status_words(*status),
                    Expected::Words(status_words(after).into()),
                )?,
                origin: ORIGIN,
            };
            kernel::step_size(&mut call.plan, args)
        })?;
    }
    Ok(())
}

/// (step, k, |g|², q): q near the oracle's; k the oracle's, or one beside it where rounding decides; the step that
/// belongs to this k.
fn judge_step(slot: &[f32], place: usize, size: &oracle::StepSize, start: f64, bound: Bound) -> Verdict {
    if !size.curvature.is_finite() {
        // Noted in the status; nothing is promised of the step.
        return Verdict::Near(0.0);
    }
    let doublings = f64::from(slot[1]);
    match place {
        0 => {
            let expected = size.step * (f64::from(size.exponent) - doublings).exp2();
            Verdict::of(slot[0], expected, expected, Bound::roundings(4))
        }
        1 => {
            let steps = doublings - f64::from(size.exponent);
            // The power of two between the two answers, if they differ.
            let edge = start * (f64::from(size.exponent) + steps.min(0.0)).exp2();
            let is_close = bound.share(edge, size.curvature, size.curvature) <= 1.0;
            if steps == 0.0 || (steps.abs() == 1.0 && is_close) {
                return Verdict::Near(0.0);
            }
            Verdict::Not(format!("{} for a curvature of {:e} from {start}", size.exponent, size.curvature))
        }
        2 => Verdict::of(slot[2], size.gradient_square, size.gradient_square, bound),
        _ => Verdict::of(slot[3], size.curvature, size.curvature, bound),
    }
}

/// What a step of the last layer reads.
struct Last {
    case: String,
    product: Matrix,
    bias: Matrix,
    dual: Matrix,
    z: Matrix,
    targets: LastTargets,
    control: Control,
}

/// What a step of the last layer is drawn to.
enum LastTargets {
    Classes(Vec<u32>),
    Values(Matrix),
}

impl Last {
    /// `dual` is what a sweep leaves, `y − softmax` of something: with any other a small ρ puts z beyond reach.
    fn new(session: &mut Session<'_>, (samples, classes): (u32, u32), rho: f32) -> Self {
        let shape = Shape::new(samples, classes);
        let labels = labels(session, samples, classes);
        let logits = session.matrix(shape, Profile::Ordinary).map(|value| (3.0 * value).exp());
        let dual = Matrix::from_fn(samples as usize, classes as usize, |sample, class| {
            let total: f64 = logits.row(sample).iter().sum();
            let label = f64::from(u8::from(labels[sample] as usize == class));
            exact((label - logits[(sample, class)] / total) as f32)
        });
        let scaled = |matrix: Matrix| matrix.map(|value| exact(4.0 * value as f32));
        Self {
            case: format!("{shape}, ρ = {rho}"),
            product: scaled(session.matrix(shape, Profile::Ordinary)),
            bias: session.matrix(Shape::vector(classes), Profile::Ordinary),
            dual,
            z: scaled(session.matrix(shape, Profile::Ordinary)),
            targets: LastTargets::Classes(labels),
            control: penalties(rho, 1.0),
        }
    }

    /// The same for squared loss.
    fn squared(session: &mut Session<'_>, (samples, outputs): (u32, u32), rho: f32) -> Self {
        let values = session.matrix(Shape::new(samples, outputs), Profile::Ordinary);
        let last = Self::new(session, (samples, outputs), rho);
        let case = format!("squared loss, {}", last.case);
        Self { case, targets: LastTargets::Values(values), ..last }
    }

    fn loss(&self) -> Loss {
        match self.targets {
            LastTargets::Classes(_) => Loss::CrossEntropy,
            LastTargets::Values(_) => Loss::Squared,
        }
    }

    fn oracle(&self) -> oracle::LastLayer<'_> {
        let Self { product, bias, dual, z, control, .. } = self;
        let targets = match &self.targets {
            LastTargets::Classes(labels) => oracle::Targets::Classes(labels),
            LastTargets::Values(values) => oracle::Targets::Values(values),
        };
        oracle::LastLayer { z, product, bias, dual, targets, rho: control.rho }
    }

    /// Makes the operands and hands them to `record`: z and u as the caller expects them.
    fn call<'e>(
        &self,
        call: &mut Call<'e>,
        (z, dual): (Expected<'e>, Expected<'e>),
        record: impl FnOnce(&mut Call<'e>, &kernel::LastLayer<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let args = kernel::LastLayer {
            product: &call.input("product", &self.product)?,
            bias: &call.input("bias", &self.bias)?,
            dual: &call.update("dual", &self.dual, dual)?,
            targets: &match &self.targets {
                LastTargets::Classes(labels) => call.labels(labels)?,
                LastTargets::Values(values) => call.input("targets", values)?,
            },
            control: &call.input("control", &control_row(&self.control))?,
            z: &call.update("z", &self.z, z)?,
        };
        record(call, &args)
    }

    /// Calls `dladmm/fista_changes`; what is expected of its changes is told the index of the first.
    fn look_ahead<'e>(
        &self,
        call: &mut Call<'e>,
        stage: &Range<u32>,
        eta: f32,
        expected: impl FnOnce(usize) -> Expected<'e>,
    ) -> Result<(), Error> {
        let (samples, classes) = self.z.shape();
        let class = call.plan.gpu().capabilities().class;
        let rows =
            EARLIER_ROWS + kernel::fista_change_rows(class, Shape::new(samples as u32, classes as u32));
        let changes = Shape::new(rows, stage.len() as u32);
        let changes = call.output("changes", changes, expected(EARLIER_ROWS as usize * stage.len()))?;
        self.call(call, (Expected::Unchanged, Expected::Unchanged), |call, args| {
            kernel::fista_changes(&mut call.plan, args, stage, eta, (&changes, EARLIER_ROWS))
        })
    }
}

pub(super) fn fista(session: &mut Session<'_>) -> Result<(), Error> {
    for size in sizes(session) {
        // At η = 2 no error grows; at η = 4 the momentum lengthens errors, hardly in ten iterations.
        for (rho, eta, iterations) in [(1e-6, 2.0f32, 25), (0.3, 2.0, 25), (1e-6, 4.0, 8), (1.0, 4.0, 1)] {
            let last = Last::new(session, size, rho);
            let stepped = oracle::fista(last.oracle(), exact(eta), iterations as usize);
            let case = format!("{}, {iterations} iterations at η = {eta}", last.case);
            session.check(&case, |call| {
                // An iteration's own chain: a softmax, the gradient, two sums, two products.
                let near = Expected::near(&stepped, Bound::roundings(16).amplified(1.0 / last.control.rho));
                last.call(call, (near, Expected::Unchanged), |call, args| {
                    kernel::fista(&mut call.plan, args, iterations, eta)
                })
            })?;
        }
    }
    // Fewer than it is given, where the stop test says so.
    let mut last = Last::new(session, (65, 10), 0.3);
    last.control.fista_steps = 3.0;
    let stepped = oracle::fista(last.oracle(), 2.0, 3);
    session.check("3 of 25 iterations", |call| {
        let near = Expected::near(&stepped, Bound::roundings(16).amplified(1.0 / last.control.rho));
        last.call(call, (near, Expected::Unchanged), |call, args| {
            kernel::fista(&mut call.plan, args, 25, 2.0)
        })
    })?;
    with_spoilt_samples(
        session,
        |args| oracle::fista(args, 2.0, 10),
        |call, args| kernel::fista(&mut call.plan, args, 10, 2.0),
    )
}

/// Rows before the first that is written.
const EARLIER_ROWS: u32 = 2;

/// An iteration's own chain, sums over lanes and classes, and a logarithm near 1, which WGSL lets be off by 2⁻²¹: of a growth
/// by a sixteenth at least.
const CHANGE_ROUNDINGS: usize = 16 + 16 + 64;

/// The oracle's changes of the steps `stage`, summed over the samples of each row that the kernel leaves.
fn change_rows(
    session: &Session<'_>,
    last: &Last,
    shape: Shape,
    stage: &Range<u32>,
    eta: f32,
) -> Bounded<Matrix> {
    let changes = oracle::fista_changes(last.oracle(), exact(eta), stage.end as usize);
    let class = session.gpu().capabilities().class;
    let rows = kernel::fista_change_rows(class, shape);
    // As many as leave one row.
    let samples =
        (1..).take_while(|&rows| kernel::fista_change_rows(class, Shape { rows, ..shape }) == 1).count();
    let summed = |matrix: &Matrix| {
        Matrix::from_fn(rows as usize, stage.len(), |row, step| {
            let own = row * samples..matrix.rows().min((row + 1) * samples);
            own.map(|sample| matrix[(sample, stage.start as usize + step)]).sum()
        })
    };
    Bounded { value: summed(&changes.value), magnitude: summed(&changes.magnitude) }
}

pub(super) fn fista_changes(session: &mut Session<'_>) -> Result<(), Error> {
    for size in sizes(session) {
        for (rho, eta, stage) in [(1e-6, 4.0f32, 0..4), (0.3, 2.0, 0..4), (1.0, 2.0, 4..12)] {
            let last = Last::new(session, size, rho);
            let changes = change_rows(session, &last, Shape::new(size.0, size.1), &stage, eta);
            let bound = Bound::roundings(CHANGE_ROUNDINGS).amplified(1.0 / last.control.rho);
            session.check(&format!("{}, steps {stage:?} at η = {eta}", last.case), |call| {
                last.look_ahead(call, &stage, eta, |first| Expected::Near { value: &changes, bound, first })
            })?;
        }
    }
    let mut settled = Last::new(session, (65, 10), 0.3);
    settled.control.fista_steps = 4.0;
    session
        .check("stopped before", |call| settled.look_ahead(call, &(4..8), 2.0, |_| Expected::Unchanged))?;
    for (classes, odd) in [10, 1_000].into_iter().flat_map(|classes| NOT_FINITE.map(|odd| (classes, odd))) {
        let mut last = Last::new(session, (65, classes), 1.0);
        last.product[(64, 4)] = odd;
        let changes = change_rows(session, &last, Shape::new(65, classes), &(0..4), 2.0);
        let hit = changes.value.rows() - 1;
        session.check(&format!("{odd} in product[64, 4] of {classes} classes"), |call| {
            last.look_ahead(call, &(0..4), 2.0, |first| {
                let changes = &changes;
                Expected::Each(Box::new(move |values, index| match index.checked_sub(first) {
                    Some(index) if index / 4 == hit && values[first + index].is_finite() => {
                        Verdict::Not("NaN or infinite".into())
                    }
                    Some(index) if index / 4 < hit => {
                        let (value, magnitude) =
                            (changes.value.data()[index], changes.magnitude.data()[index]);
                        Verdict::of(
                            values[first + index],
                            value,
                            magnitude,
                            Bound::roundings(CHANGE_ROUNDINGS),
                        )
                    }
                    _ => Verdict::Near(0.0),
                }))
            })
        })?;
    }
    Ok(())
}

/// Each case names the steps that change the objective by almost nothing, and those whose change is not a number.
pub(super) fn fista_stop(session: &mut Session<'_>) -> Result<(), Error> {
    const TOLERANCE: f32 = 1e-3;
    // Rows, steps looked at, the most that there are.
    let standing = |still: &[u32], odd: &[u32]| (still.to_vec(), odd.to_vec());
    for ((rows, stage, iterations), (still, odd)) in [
        ((1, 0..4, 100), standing(&[0], &[])),
        ((3, 0..4, 3), standing(&[], &[])),
        ((157, 0..4, 100), standing(&[1, 3], &[0])),
        ((64, 4..32, 100), standing(&[], &[9])),
        ((65, 4..32, 100), standing(&[31], &[])),
        ((5, 4..32, 30), standing(&[30, 31], &[])),
        ((257, 32..256, 5_000), standing(&[255, 34], &[33, 35])),
        ((2, 256..2_048, 5_000), standing(&[2_040], &[])),
    ] {
        let moves = session.matrix(Shape::new(rows as u32, stage.len() as u32), Profile::Ordinary);
        let changes = Matrix::from_fn(rows, stage.len(), |row, column| match stage.start + column as u32 {
            step if odd.contains(&step) => f64::NAN,
            step if still.contains(&step) => exact(1e-9 * moves[(row, column)] as f32),
            _ => exact(-1.0 - moves[(row, column)].abs() as f32),
        });
        let sums = (0..stage.len()).map(|column| (0..rows).map(|row| changes[(row, column)]).sum());
        let looked_at: Vec<f64> = (0..stage.start).map(|_| f64::NAN).chain(sums).collect();
        let steps = oracle::fista_stop(&looked_at, iterations as usize, exact(TOLERANCE));
        for before in [iterations, stage.start.max(1)].map(f64::from) {
            let mut control = penalties(0.02, 0.03);
            control.fista_steps = before;
            let is_settled = before <= f64::from(stage.start);
            let after = Control { fista_steps: if is_settled { before } else { steps as f64 }, ..control };
            let case = format!("{rows} rows of steps {stage:?}, still {still:?}, {before} before");
            session.check(&case, |call| {
                let next = control_row(&after).map(|value| exact(value as f32));
                let expected =
                    Expected::Words(next.data().iter().map(|value| (*value as f32).to_bits()).collect());
                let changes = call.input("changes", &changes)?;
                let control = call.update("control", &control_row(&control), expected)?;
                kernel::fista_stop(&mut call.plan, &changes, &control, &stage, (iterations, TOLERANCE))
            })?;
        }
    }
    Ok(())
}

pub(super) fn newton(session: &mut Session<'_>) -> Result<(), Error> {
    for size in sizes(session) {
        for rho in [1e-4, 1e-2, 1.0] {
            let last = Last::new(session, size, rho);
            let root = oracle::newton(last.oracle());
            session.check(&last.case, |call| {
                let near_root = Expected::Each(Box::new(|values, index| {
                    // A sample that ran out of steps was stopped on its way, at another place in each precision.
                    if root.steps[index / size.1 as usize] == oracle::NEWTON_STEPS {
                        return Verdict::Near(0.0);
                    }
                    let (value, magnitude) = (root.z.value.data()[index], root.z.magnitude.data()[index]);
                    Verdict::of(values[index], value, magnitude + value.abs(), Bound::roundings(8))
                }));
                last.call(call, (near_root, Expected::Unchanged), |call, args| {
                    kernel::newton(&mut call.plan, args)
                })
            })?;
        }
    }
    with_spoilt_samples(
        session,
        |args| oracle::newton(args).z,
        |call, args| kernel::newton(&mut call.plan, args),
    )
}

/// A value that is not finite shows in its own place, may spoil its sample, and leaves the others alone. `z` is what the
/// others come to.
fn spoilt_sample<'e>(z: &'e Bounded<Matrix>, bound: Bound, place: (usize, usize)) -> Expected<'e> {
    let columns = z.value.cols();
    Expected::Each(Box::new(move |values, index| match (index / columns, index % columns) {
        (row, column) if (row, column) == place && values[index].is_finite() => {
            Verdict::Not("NaN or infinite".into())
        }
        (row, _) if row == place.0 => Verdict::Near(0.0),
        _ => {
            let (value, magnitude) = (z.value.data()[index], z.magnitude.data()[index]);
            Verdict::of(values[index], value, magnitude + value.abs(), bound)
        }
    }))
}

/// Runs `record` on three samples, the second with a value that is not finite, for few classes and for many.
fn with_spoilt_samples(
    session: &mut Session<'_>,
    oracle: impl Fn(oracle::LastLayer<'_>) -> Bounded<Matrix>,
    record: impl Fn(&mut Call<'_>, &kernel::LastLayer<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    for (classes, odd) in [10, 1_000].into_iter().flat_map(|classes| NOT_FINITE.map(|odd| (classes, odd))) {
        let mut last = Last::new(session, (3, classes), 1.0);
        last.product[(1, 4)] = odd;
        let z = oracle(last.oracle());
        session.check(&format!("{odd} in product[1, 4] of {classes} classes"), |call| {
            let expected = spoilt_sample(&z, Bound::roundings(16), (1, 4));
            last.call(call, (expected, Expected::Unchanged), |call, args| record(call, args))
        })?;
    }
    Ok(())
}

pub(super) fn squared_z(session: &mut Session<'_>) -> Result<(), Error> {
    for size in sizes(session).into_iter().chain([(130, 1)]) {
        for rho in [1e-6, 0.3, 100.0] {
            let last = Last::squared(session, size, rho);
            let stepped = oracle::squared_z(last.oracle());
            session.check(&last.case, |call| {
                // Three sums, one with a product in it; 2.5 ULPs of a reciprocal of a sum; a product by it.
                let near = Expected::near(&stepped, Bound::roundings(8));
                last.call(call, (near, Expected::Unchanged), |call, args| {
                    kernel::squared_z(&mut call.plan, args)
                })
            })?;
        }
    }
    for odd in NOT_FINITE {
        let mut last = Last::squared(session, (3, 5), 0.3);
        last.product[(1, 2)] = odd;
        let stepped = oracle::squared_z(last.oracle());
        session.check(&format!("{odd} in product[1, 2]"), |call| {
            let hit = Expected::not_finite(&stepped, Bound::roundings(8), |index| index == 7);
            last.call(call, (hit, Expected::Unchanged), |call, args| kernel::squared_z(&mut call.plan, args))
        })?;
    }
    Ok(())
}

pub(super) fn dual_step(session: &mut Session<'_>) -> Result<(), Error> {
    let mut lasts = Vec::new();
    for size in sizes(session) {
        lasts.extend([1e-6, 0.3].map(|rho| Last::new(session, size, rho)));
        lasts.push(Last::squared(session, size, 0.3));
    }
    let mut far = Last::new(session, (70, 10), 1e-6);
    far.case += ", z far out";
    far.z = far.z.map(|z| exact(3e4 * z as f32));
    lasts.push(far);
    for last in lasts {
        let stepped = oracle::dual_step(last.oracle());
        let totals = vec![stepped.loss, stepped.dual_product, stepped.residual_square, Bounded::ZERO];
        let (samples, classes) = (last.z.rows() as u32, last.z.cols() as u32);
        let count = kernel::dual_partial_count(samples);
        session.check(&last.case, |call| {
            // Two differences, then one multiply-add.
            let near = Expected::near(&stepped.dual, Bound::roundings(4));
            let sums = sums(totals.clone(), cost_roundings(classes), count);
            let partials = call.output("partials", list(count, 4), sums)?;
            last.call(call, (Expected::Unchanged, near), |call, args| {
                kernel::dual_step(&mut call.plan, args, last.loss(), kernel::Dual::Steps, &partials, OFFSET)
            })
        })?;
    }
    for odd in NOT_FINITE {
        let mut last = Last::new(session, (130, 10), 0.3);
        last.product[(100, 4)] = odd;
        let stepped = oracle::dual_step(last.oracle());
        session.check(&format!("{odd} in product[100, 4]"), |call| {
            let hit = Expected::not_finite(&stepped.dual, Bound::roundings(4), |index| index == 1004);
            let partials = call.output("partials", list(3, 4), shows_in(4, 3, 1))?;
            last.call(call, (Expected::Unchanged, hit), |call, args| {
                kernel::dual_step(&mut call.plan, args, last.loss(), kernel::Dual::Steps, &partials, OFFSET)
            })
        })?;
    }
    dual_terms(session)
}

/// The terms alone: u stays, and they are those at the u that is there.
fn dual_terms(session: &mut Session<'_>) -> Result<(), Error> {
    for size in sizes(session) {
        let last = Last::new(session, size, 0.3);
        let still = oracle::dual_step(oracle::LastLayer { rho: 0.0, ..last.oracle() });
        let totals = vec![still.loss, still.dual_product, still.residual_square, Bounded::ZERO];
        let count = kernel::dual_partial_count(last.z.rows() as u32);
        session.check(&format!("{}, u stays", last.case), |call| {
            let sums = sums(totals.clone(), cost_roundings(last.z.cols() as u32), count);
            let partials = call.output("partials", list(count, 4), sums)?;
            last.call(call, (Expected::Unchanged, Expected::Unchanged), |call, args| {
                kernel::dual_step(&mut call.plan, args, last.loss(), kernel::Dual::Stays, &partials, OFFSET)
            })
        })?;
    }
    Ok(())
}

pub(super) fn dual_of_z(session: &mut Session<'_>) -> Result<(), Error> {
    let mut lasts = Vec::new();
    for size in sizes(session) {
        lasts.extend([Last::new(session, size, 0.3), Last::squared(session, size, 0.3)]);
    }
    for last in lasts {
        let expected = oracle::dual_of_z(last.oracle());
        // A sum over the classes, two exponentials, a quotient, a difference.
        let bound = Bound::roundings(last.z.cols() + 16);
        session.check(&last.case, |call| {
            let near = Expected::near(&expected, bound);
            last.call(call, (Expected::Unchanged, near), |call, args| {
                kernel::dual_of_z(&mut call.plan, args, last.loss())
            })
        })?;
    }
    Ok(())
}

pub(super) fn weight_terms(session: &mut Session<'_>) -> Result<(), Error> {
    for (shape, profile) in operands(session.effort()) {
        let weights = session.matrix(shape, profile);
        let terms = oracle::weight_terms(&weights);
        let totals = vec![terms.square, terms.size, Bounded::ZERO, Bounded::ZERO];
        let roundings = summing_roundings(session);
        session.check(&format!("{shape}, {profile}"), |call| {
            let (weights, count) = (call.input("weights", &weights)?, chunks(shape));
            // A product and three additions in a `vec4`.
            let expected = sums(totals.clone(), 4 + roundings, count);
            let partials = call.output("partials", list(count, 4), expected)?;
            kernel::weight_terms(&mut call.plan, &weights, &partials, OFFSET)
        })?;
    }
    for odd in NOT_FINITE {
        let mut weights = session.matrix(Shape::new(50, 100), Profile::Ordinary);
        weights[(49, 99)] = odd;
        session.check(&format!("{odd} in weights[49, 99]"), |call| {
            let (weights, count) = (call.input("weights", &weights)?, chunks(Shape::new(50, 100)));
            let partials = call.output("partials", list(count, 4), shows_in(4, count, 1))?;
            kernel::weight_terms(&mut call.plan, &weights, &partials, OFFSET)
        })?;
    }
    Ok(())
}

pub(super) fn merit(session: &mut Session<'_>) -> Result<(), Error> {
    for layers in [2u32, 3, 9] {
        let totals = session.matrix(Shape::new(2 * layers + 2, 4), Profile::Ordinary).map(f64::abs);
        let ridge = session.matrix(Shape::new(layers, 4), Profile::Ordinary).map(f64::abs);
        let control = Control::new(exact(0.02), exact(0.05), 1.0, 2.0);
        let expected = oracle::merit(&totals, &ridge, &control);
        session.check(&format!("{layers} layers"), |call| {
            let merits = Expected::Each(Box::new(move |values, index| match index {
                2 => {
                    let bound = Bound::roundings(7 * layers as usize + 10);
                    Verdict::of(values[2], expected.value, expected.magnitude, bound)
                }
                _ if values[index].is_nan() => Verdict::Near(0.0),
                _ => Verdict::Not("untouched".into()),
            }));
            let (totals, ridge) = (call.input("totals", &totals)?, call.input("ridge", &ridge)?);
            let control = call.input("control", &control_row(&control))?;
            let merits = call.output("merits", Shape::vector(4), merits)?;
            kernel::merit(&mut call.plan, (&totals, &ridge), &control, (&merits, 2))
        })?;
    }
    Ok(())
}

pub(super) fn hidden_terms(session: &mut Session<'_>) -> Result<(), Error> {
    for layer in Layer::all(session) {
        let shape = Shape::new(layer.goal.rows() as u32, layer.goal.cols() as u32);
        let activation = session.matrix(shape, Profile::Ordinary);
        for (f, oracle_f, roundings) in activations() {
            let terms = oracle::hidden_terms(&layer.product, &layer.bias, &layer.goal, &activation, oracle_f);
            let totals = vec![terms.residual_square, terms.activation_square, Bounded::ZERO, Bounded::ZERO];
            // Two roundings in a residual count twice in its square, then a `vec4` and the chunk.
            let bound = 8 + 2 * roundings + summing_roundings(session);
            let expected = |count| sums(totals.clone(), bound, count);
            let case = format!("{f:?}, {}", layer.case);
            one_sum_of_terms(session, &case, &layer, &activation, f, expected)?;
        }
    }
    for odd in NOT_FINITE {
        let mut layer = Layer::new(session, Shape::new(50, 100), Profile::Ordinary);
        let activation = session.matrix(Shape::new(50, 100), Profile::Ordinary);
        layer.product[(49, 99)] = odd;
        for (f, ..) in activations() {
            let case = format!("{f:?}, {odd} in product[49, 99]");
            one_sum_of_terms(session, &case, &layer, &activation, f, |count| shows_in(4, count, 1))?;
        }
    }
    Ok(())
}

fn one_sum_of_terms(
    session: &mut Session<'_>,
    case: &str,
    layer: &Layer,
    activation: &Matrix,
    f: Activation,
    expected: impl Fn(u32) -> Expected<'static>,
) -> Result<(), Error> {
    session.check(case, |call| {
        let [product, bias, z] = layer.inputs(call)?;
        let count = chunks(product.shape());
        let args = kernel::HiddenTerms {
            product: &product,
            bias: &bias,
            z: &z,
            activation: &call.input("activation", activation)?,
            f,
            partials: &call.output("partials", list(count, 4), expected(count))?,
            offset: OFFSET,
        };
        kernel::hidden_terms(&mut call.plan, args)
    })
}

pub(super) fn keep(session: &mut Session<'_>) -> Result<(), Error> {
    for (shape, profile) in operands(session.effort()) {
        for origin in [0, 3] {
            let (x, kept) = (session.matrix(shape, profile), session.matrix(shape, profile));
            let status = Status { origin, failed: origin, iteration: 9, dropped: 0 };
            let after = oracle::keep(&x, &status, &kept);
            session.check(&format!("{shape}, {profile}, origin {origin}"), |call| {
                let x = call.input("x", &x)?;
                let status = call.words("status", &status_words(status), Expected::Unchanged)?;
                let kept = call.update("kept", &kept, Expected::exactly(&after))?;
                kernel::keep(&mut call.plan, &x, &status, &kept)
            })?;
        }
    }
    Ok(())
}

/// Records in the ring of these cases.
const RING: u32 = 3;

/// What the accelerator reports in these cases: tried, tries, accepts, rejects, skips, clears, the last step, nothing.
const LEDGER: [u8; 9] = [1, 40, 30, 7, 3, 2, 5, 6, 0];

/// The ledger that says so, as `shaders/anderson/ledger.wgsl` lays it out.
fn ledger_words() -> Vec<u32> {
    let mut words = vec![0; LEDGER_LENGTH as usize];
    words[7] = u32::from(LEDGER[0]);
    for (word, value) in words[9..15].iter_mut().zip(&LEDGER[1..7]) {
        *word = u32::from(*value);
    }
    words[15] = f32::from(LEDGER[7]).to_bits();
    words
}

pub(super) fn record(session: &mut Session<'_>) -> Result<(), Error> {
    let official = Schedule::Official { wide: true };
    let narrow = Schedule::Official { wide: false };
    let iterations = [
        (Schedule::Constant, 0, 0),
        (Schedule::Paper, 98, 0),
        (Schedule::Paper, 99, 0),
        (official, 0, 2),
        (official, 5, 1),
        (official, 5, 2),
        (official, 6, 3),
        (narrow, 5, 2),
    ];
    for layers in [2u32, 4] {
        for (schedule, iteration, rises) in iterations {
            // The training cost is 8 now and was 4 or 16.
            for cost in [4.0, 16.0] {
                let control = Control { cost, rises, ..Control::new(exact(0.02), exact(0.05), 1.0, 2.0) };
                let status = Status { iteration, ..Status::default() };
                let case = format!(
                    "{layers} layers, {schedule:?} after {iteration}, {rises} rises, cost was {cost}"
                );
                one_record(session, &case, layers, schedule, control, status, None)?;
            }
        }
    }
    let control = Control::new(exact(0.02), exact(0.05), 1.0, 2.0);
    for odd in NOT_FINITE {
        for origin in [0, 2] {
            let status = Status { origin, failed: origin, iteration: 4, dropped: 3 };
            let case = format!("{odd} in totals[0, 1], origin {origin}");
            one_record(session, &case, 3, Schedule::Constant, control, status, Some(odd))?;
        }
    }
    Ok(())
}

fn one_record(
    session: &mut Session<'_>,
    case: &str,
    layers: u32,
    schedule: Schedule,
    control: Control,
    status: Status,
    odd: Option<f64>,
) -> Result<(), Error> {
    const SAMPLES: f32 = 16.0;
    let slots = 4 * layers - 2;
    let mut totals = session.matrix(Shape::new(2 * layers + 2, 4), Profile::Ordinary).map(f64::abs);
    let ridge = session.matrix(Shape::new(layers, 4), Profile::Ordinary).map(f64::abs);
    totals[(layers as usize, 0)] = 8.0 * exact(SAMPLES);
    if let Some(odd) = odd {
        totals[(0, 1)] = odd;
    }
    let steps = Matrix::from_fn(slots as usize, 4, |slot, place| (3 * slot + place) as f64);
    let recorded = oracle::record(oracle::Record {
        totals: &totals,
        steps: &steps,
        ridge: &ridge,
        ledger: LEDGER.map(f64::from),
        control,
        status,
        schedule,
        evaluated: true,
        origin: ORIGIN,
        samples: exact(SAMPLES),
    });
    let record_length = recorded.values.value.cols() as u32;
    let (code, wide) = match schedule {
        Schedule::Constant => (0, false),
        Schedule::Paper => (1, false),
        Schedule::Official { wide } => (2, wide),
    };
    let next = super::elementwise::rounded_once(control_row(&recorded.control));
    session.check(case, |call| {
        let params = kernel::RecordParams {
            layers,
            slots,
            record_length,
            ring_length: RING,
            schedule: code,
            evaluated: 1,
            wide: wide.into(),
            origin: ORIGIN,
            samples: SAMPLES,
        };
        let first = (status.iteration % RING * record_length) as usize;
        let ring = match odd {
            // Sums over layers, three terms each with a product and two terms each with three, four products, four sums.
            None => Expected::Near {
                value: &recorded.values,
                bound: Bound::roundings(7 * layers as usize + 10),
                first,
            },
            Some(_) => Expected::Each(Box::new(move |values, index| match index.checked_sub(first) {
                Some(1) if values[index].is_finite() => Verdict::Not("NaN or infinite".into()),
                _ => Verdict::Near(0.0),
            })),
        };
        let after = Expected::Words(status_words(recorded.status).into());
        let args = kernel::Record {
            totals: &call.input("totals", &totals)?,
            steps: &call.input("steps", &steps)?,
            ridge: &call.input("ridge", &ridge)?,
            ledger: &call.words("ledger", &ledger_words(), Expected::Unchanged)?,
            control: &call.update(
                "control",
                &control_row(&control),
                Expected::near(&next, Bound::roundings(1)),
            )?,
            status: &call.words("status", &status_words(status), after)?,
            ring: &call.output("ring", Shape::vector((RING * record_length).next_multiple_of(4)), ring)?,
        };
        kernel::record(&mut call.plan, &args, params)
    })
}
