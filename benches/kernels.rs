//! Every kernel by itself, at the size of one layer of the paper's network.
//!
//! A kernel that takes less than a dispatch shows the dispatch. Shares are of ceilings beyond caches, while operands of 20 MB
//! may stay in those of a large device: read a kernel beside the table of `elementwise/copy`. Run
//! `cargo bench --bench kernels -- hidden_z` for one of them.

mod support;

use std::fmt;

use dualstep::Error;
use dualstep::bench::{Size, Stage};
use dualstep::engine::{PlanBuilder, Shape, StorageType, Tensor};
use dualstep::kernels::anderson;
use dualstep::kernels::badm::{self, SecondMoment};
use dualstep::kernels::batch;
use dualstep::kernels::cg;
use dualstep::kernels::cholesky::{self, Corner};
use dualstep::kernels::dladmm::{self, ActivationGradient, Block, Dual, HiddenTerms, LastLayer, StepSize};
use dualstep::kernels::elementwise::Dropout;
use dualstep::kernels::exact::{self, Damping, Gram, RightSide};
use dualstep::kernels::first_order::{self, Method, Penalty, PenaltyKind};
use dualstep::kernels::gcn;
use dualstep::kernels::linalg::{self, Transposed};
use dualstep::kernels::line_search::{self, ActivationStep, WeightStep};
use dualstep::kernels::loss::Loss;
use dualstep::kernels::mlp::{self, Gradients};
use dualstep::kernels::nm::{self, NmPattern, Packed, Update};
use dualstep::kernels::optimizer::{self, Stretch};
use dualstep::kernels::proximal::{self, Decide, Pull};
use dualstep::kernels::sparse::{self, Onto, RowsAre, Sparse};
use dualstep::kernels::{self, Activation, elementwise, loss, reduce};
use support::Row;

const CLASSES: u32 = 10;

/// Columns of an accelerator's history.
const COLUMNS: u32 = 4;

/// Entries in each row of a sparse matrix, as many as a node of Cora has neighbours, itself included.
const NEIGHBOURS: u32 = 5;

/// Sub-batches of a BADM step.
const SUB_BATCHES: u32 = 4;

/// Makes operands of a given size and records calls on them.
struct Layer<'a> {
    stage: &'a Stage<'a>,
    samples: u32,
    width: u32,
}

/// Records one call of a kernel.
type Record = fn(&Layer<'_>, &mut PlanBuilder) -> Result<(), Error>;

/// One row per kernel, in the order of the registry.
const ROWS: &[(&str, Record)] = &[
    ("elementwise/fill", |b, plan| elementwise::fill(plan, &b.side()?, 1.0)),
    ("elementwise/copy", |b, plan| elementwise::copy(plan, &b.side()?, &b.side()?)),
    ("elementwise/multiply_add", |b, plan| {
        elementwise::multiply_add(plan, &b.weights()?, 64, (0.999, 1e-3), &b.weights()?)
    }),
    ("elementwise/descend", |b, plan| elementwise::descend(plan, &b.side()?, &b.list(4)?, 0, &b.side()?)),
    ("elementwise/activate", |b, plan| {
        elementwise::activate(plan, &b.side()?, &b.list(b.width)?, &b.side()?, Activation::Relu)
    }),
    ("elementwise/dropout", |b, plan| {
        let dropout = Dropout { cursor: &b.cursor()?, layer: 0, rate: 0.5 };
        elementwise::dropout(plan, &b.side()?, &dropout, &b.side()?)
    }),
    ("reduce/dot", |b, plan| reduce::dot(plan, &b.side()?, &b.side()?, &b.partials()?, 0)),
    ("reduce/dots", |b, plan| reduce::dots(plan, &b.side()?, &b.side()?, &b.partials()?, 0)),
    ("reduce/totals", |b, plan| {
        let (partials, count) = (b.partials()?, b.samples);
        let (totals, status) = (b.list(4)?, b.list(dladmm::STATUS_LENGTH)?);
        let args = reduce::Totals {
            partials: &partials,
            count,
            totals: &totals,
            slot: 0,
            status: &status,
            origin: 1,
        };
        reduce::totals(plan, args)
    }),
    ("linalg/matmul", |b, plan| {
        linalg::matmul(plan, (&b.side()?, Transposed::No), (&b.weights()?, Transposed::Yes), &b.side()?)
    }),
    ("linalg/matmul_add", |b, plan| {
        linalg::matmul_add(plan, (&b.side()?, Transposed::Yes), (&b.side()?, Transposed::No), &b.weights()?)
    }),
    ("linalg/matmul_subtract", |b, plan| {
        linalg::matmul_subtract(
            plan,
            (&b.side()?, Transposed::No),
            (&b.weights()?, Transposed::No),
            &b.side()?,
        )
    }),
    ("linalg/add_parts", |b, plan| {
        let parts = b.matrix(SUB_BATCHES, b.width * b.width)?;
        linalg::add_parts(plan, &parts, 1.0, &b.weights()?)
    }),
    ("linalg/matmul_norm", |b, plan| {
        let operands = (b.side()?, b.weights()?, b.side()?);
        let (left, right) = ((&operands.0, Transposed::No), (&operands.1, Transposed::Yes));
        linalg::matmul_norm(plan, left, right, &operands.2, &b.partials()?, 0)
    }),
    ("linalg/gram", |b, plan| linalg::gram(plan, &b.side()?, &b.weights()?)),
    ("linalg/transpose", |b, plan| linalg::transpose(plan, &b.side()?, &b.matrix(b.width, b.samples)?)),
    ("sparse/product", |b, plan| sparse::product(plan, &b.neighbours()?, &b.side()?, &b.side()?)),
    ("sparse/weight_gradient", |b, plan| {
        let rows = &b.matrix(SUB_BATCHES, b.width * b.width)?;
        let gradients = Gradients { rows, first: 0 };
        sparse::weight_gradient(plan, &b.side()?, &b.bags(b.width, b.samples)?, gradients, Onto::Nothing)
    }),
    ("sparse/dropout", |b, plan| {
        let (x, cursor) = (b.bags(b.samples, b.width)?, &b.cursor()?);
        let dropout = Dropout { cursor, layer: 0, rate: 0.5 };
        sparse::dropout(plan, &x, RowsAre::Samples, &dropout, &b.list(x.entries())?)
    }),
    ("linalg/matmul_nm", |b, plan| {
        let pattern = b.pattern();
        let (values, places) = b.packed(pattern)?;
        let packed = Packed { values: &values, places: &places };
        linalg::matmul_nm(plan, &b.side()?, pattern, packed, &b.side()?)
    }),
    ("linalg/matvec_nm", |b, plan| {
        let pattern = b.pattern();
        let (values, places) = b.packed(pattern)?;
        let packed = Packed { values: &values, places: &places };
        let vector = || b.matrix(1, b.width);
        linalg::matvec_nm(plan, &vector()?, pattern, packed, &vector()?)
    }),
    ("cholesky/corner", |b, plan| {
        let block = || b.matrix(cholesky::SIDE, cholesky::SIDE);
        let (matrix, inverse, copy) = (block()?, block()?, block()?);
        let (steps, status) = (b.list(4)?, b.list(dladmm::STATUS_LENGTH)?);
        let args = Corner {
            matrix: &matrix,
            steps: &steps,
            slot: 0,
            inverse: &inverse,
            copy: &copy,
            status: &status,
        };
        cholesky::corner(plan, args)
    }),
    ("cg/step", |b, plan| {
        let (image, direction, residual, solution) = (b.side()?, b.side()?, b.side()?, b.side()?);
        let args =
            cg::Step { image: &image, direction: &direction, residual: &residual, solution: &solution };
        cg::step(plan, &args)
    }),
    ("loss/softmax_scores", |b, plan| {
        loss::softmax_scores(plan, &b.logits()?, &b.list(CLASSES)?, &b.labels()?, &b.partials()?, 0)
    }),
    ("loss/squared_scores", |b, plan| {
        loss::squared_scores(plan, &b.logits()?, &b.list(CLASSES)?, &b.logits()?, &b.partials()?, 0)
    }),
    ("loss/softmax_gradient", |b, plan| {
        let (logits, bias, labels) = (b.logits()?, b.list(CLASSES)?, b.labels()?);
        let (delta, partials) = (b.logits()?, b.partials()?);
        loss::softmax_gradient(plan, (&logits, &bias), &labels, SUB_BATCHES, &delta, (&partials, 0))
    }),
    ("loss/squared_gradient", |b, plan| {
        let (outputs, bias, targets) = (b.logits()?, b.list(CLASSES)?, b.logits()?);
        let (delta, partials) = (b.logits()?, b.partials()?);
        loss::squared_gradient(plan, (&outputs, &bias), &targets, SUB_BATCHES, &delta, (&partials, 0))
    }),
    ("batch/gather", |b, plan| batch::gather(plan, &b.side()?, &b.cursor()?, &b.side()?)),
    ("batch/gather_sparse", |b, plan| {
        batch::gather_sparse(plan, &b.bags(b.samples, b.width)?, &b.cursor()?, &b.side()?)
    }),
    ("batch/gather_labels", |b, plan| batch::gather_labels(plan, &b.labels()?, &b.cursor()?, &b.labels()?)),
    ("batch/advance", |b, plan| batch::advance(plan, &b.cursor()?, (b.samples, b.samples), true)),
    ("mlp/delta", |b, plan| {
        mlp::delta(plan, &b.side()?, &b.weights()?, &b.side()?, Activation::Relu, &b.side()?)
    }),
    ("mlp/weight_gradient", |b, plan| {
        let rows = &b.matrix(SUB_BATCHES, b.width * b.width)?;
        mlp::weight_gradient(plan, &b.side()?, &b.side()?, Gradients { rows, first: 0 })
    }),
    ("mlp/bias_gradient", |b, plan| {
        let rows = &b.matrix(SUB_BATCHES, b.width)?;
        mlp::bias_gradient(plan, &b.side()?, Gradients { rows, first: 0 })
    }),
    ("gcn/skip", |b, plan| {
        let dropout = Dropout { cursor: &b.cursor()?, layer: 0, rate: 0.5 };
        gcn::skip(plan, &b.side()?, &b.side()?, &dropout, &b.side()?)
    }),
    ("gcn/delta", |b, plan| {
        let dropout = Dropout { cursor: &b.cursor()?, layer: 0, rate: 0.5 };
        gcn::delta(plan, &b.side()?, &b.side()?, Activation::Relu, &dropout, &b.side()?)
    }),
    ("dladmm/dual_target", |b, plan| {
        dladmm::dual_target(plan, &b.logits()?, &b.logits()?, &b.control()?, &b.logits()?)
    }),
    ("dladmm/residual", |b, plan| {
        dladmm::residual(plan, &b.side()?, &b.list(b.width)?, &b.side()?, &b.side()?)
    }),
    ("dladmm/residual_sums", |b, plan| {
        let sums = b.matrix(dladmm::sum_rows(b.samples), b.width)?;
        dladmm::residual_sums(plan, &b.side()?, &b.list(b.width)?, &b.side()?, &sums, 0)
    }),
    ("dladmm/bias_step", |b, plan| {
        let sums = b.matrix(dladmm::sum_rows(b.samples), b.width)?;
        dladmm::bias_step(plan, &sums, b.samples, &b.list(b.width)?)
    }),
    ("dladmm/hidden_z", |b, plan| {
        dladmm::hidden_z(plan, &b.side()?, &b.list(b.width)?, &b.side()?, &b.side()?, Activation::Relu)
    }),
    ("dladmm/activation_gradient", |b, plan| {
        let (residual, weights, gradient) = (b.side()?, b.weights()?, b.side()?);
        let (activation, z, control, partials) = (b.side()?, b.side()?, b.control()?, b.partials()?);
        let args = ActivationGradient {
            residual: &residual,
            weights: &weights,
            activation: &activation,
            z: &z,
            f: Activation::Relu,
            control: &control,
            last_layer: false,
            gradient: &gradient,
            partials: &partials,
            offset: 0,
        };
        dladmm::activation_gradient(plan, args)
    }),
    ("dladmm/weight_penalty", |b, plan| {
        dladmm::weight_penalty(plan, &b.weights()?, &b.control()?, (1e-4, false), &b.weights()?)
    }),
    ("dladmm/step_size", |b, plan| {
        let (list, control) = (b.partials()?, b.control()?);
        let (steps, status) = (b.list(4)?, b.list(dladmm::STATUS_LENGTH)?);
        let args = StepSize {
            gradient: (&list, b.samples),
            product: (&list, b.samples),
            control: &control,
            block: Block::Weights { lambda: 0.0 },
            last_layer: false,
            steps: &steps,
            slot: 0,
            status: &status,
            origin: 1,
        };
        dladmm::step_size(plan, args)
    }),
    ("dladmm/fista", |b, plan| b.last_layer(|args| dladmm::fista(plan, args, 50, 4.0))),
    ("dladmm/fista_changes", |b, plan| {
        b.last_layer(|args| dladmm::fista_changes(plan, args, &(0..4), 4.0, (&b.changes(args)?, 0)))
    }),
    ("dladmm/fista_stop", |b, plan| {
        b.last_layer(|args| dladmm::fista_stop(plan, &b.changes(args)?, args.control, &(0..4), (500, 1e-3)))
    }),
    ("dladmm/newton", |b, plan| b.last_layer(|args| dladmm::newton(plan, args))),
    ("dladmm/squared_z", |b, plan| {
        let targets = b.logits()?;
        b.last_layer(|args| dladmm::squared_z(plan, &LastLayer { targets: &targets, ..*args }))
    }),
    ("dladmm/dual_step", |b, plan| {
        b.last_layer(|args| dladmm::dual_step(plan, args, Loss::CrossEntropy, Dual::Steps, &b.partials()?, 0))
    }),
    ("dladmm/dual_of_z", |b, plan| b.last_layer(|args| dladmm::dual_of_z(plan, args, Loss::CrossEntropy))),
    ("dladmm/weight_terms", |b, plan| dladmm::weight_terms(plan, &b.weights()?, &b.partials()?, 0)),
    ("dladmm/merit", |b, plan| {
        let (totals, ridge) = (b.list(32)?, b.matrix(3, 4)?);
        dladmm::merit(plan, (&totals, &ridge), &b.control()?, (&b.list(4)?, 0))
    }),
    ("dladmm/hidden_terms", |b, plan| {
        let args = HiddenTerms {
            product: &b.side()?,
            bias: &b.list(b.width)?,
            z: &b.side()?,
            activation: &b.side()?,
            f: Activation::Relu,
            partials: &b.partials()?,
            offset: 0,
        };
        dladmm::hidden_terms(plan, args)
    }),
    ("dladmm/keep", |b, plan| dladmm::keep(plan, &b.side()?, &b.list(dladmm::STATUS_LENGTH)?, &b.side()?)),
    ("dladmm/record", |b, plan| {
        let (totals, steps, ring) = (b.list(32)?, b.list(40)?, b.list(64)?);
        let ridge = b.matrix(3, 4)?;
        let (control, status) = (b.control()?, b.list(dladmm::STATUS_LENGTH)?);
        let args = dladmm::Record {
            totals: &totals,
            steps: &steps,
            ridge: &ridge,
            ledger: &b.ledger()?,
            control: &control,
            status: &status,
            ring: &ring,
        };
        let params = dladmm::RecordParams {
            layers: 3,
            slots: 10,
            record_length: 31,
            ring_length: 2,
            schedule: 0,
            evaluated: 1,
            wide: 0,
            origin: 1,
            samples: b.samples as f32,
        };
        dladmm::record(plan, &args, params)
    }),
    ("line_search/column_squares", |b, plan| {
        line_search::column_squares(plan, &b.side()?, &b.matrix(dladmm::sum_rows(b.samples), b.width)?, 0)
    }),
    ("line_search/weight_step", |b, plan| {
        let (gradient, weights, lengths) = (b.weights()?, b.weights()?, b.list(b.width)?);
        let partials = b.matrix(dladmm::sum_rows(b.samples), b.width)?;
        let (control, status) = (b.control()?, b.list(dladmm::STATUS_LENGTH)?);
        let args = WeightStep {
            gradient: &gradient,
            partials: &partials,
            control: &control,
            lambda: 0.0,
            last_layer: false,
            weights: &weights,
            lengths: &lengths,
            status: &status,
            origin: 1,
        };
        line_search::weight_step(plan, &args)
    }),
    ("line_search/gram_step", |b, plan| {
        let status = b.list(dladmm::STATUS_LENGTH)?;
        line_search::gram_step(plan, &b.weights()?, &b.weights()?, &b.weights()?, (&status, 1))
    }),
    ("line_search/product_step", |b, plan| {
        line_search::product_step(plan, &b.side()?, &b.list(b.width)?, &b.side()?)
    }),
    ("line_search/activation_step", |b, plan| {
        let (gradient, moved, activation, product) = (b.side()?, b.side()?, b.side()?, b.side()?);
        let (control, status) = (b.control()?, b.list(dladmm::STATUS_LENGTH)?);
        let args = ActivationStep {
            gradient: &gradient,
            moved: &moved,
            control: &control,
            last_layer: false,
            activation: &activation,
            product: &product,
            status: &status,
            origin: 1,
        };
        line_search::activation_step(plan, &args)
    }),
    ("proximal/trial", |b, plan| {
        let (gradient, weights, gram, control) = (b.weights()?, b.weights()?, b.weights()?, b.control()?);
        let pull = b.pull(&gradient, &weights, &control);
        proximal::trial(plan, pull, &gram, 0, (&b.list(4)?, 0), &b.partials()?)
    }),
    ("proximal/decide", |b, plan| {
        let (partials, gram, control) = (b.partials()?, b.weights()?, b.control()?);
        let (steps, status) = (b.list(4)?, b.list(dladmm::STATUS_LENGTH)?);
        let args = Decide {
            partials: (&partials, b.width),
            gram: &gram,
            control: &control,
            last_layer: false,
            trial: 0,
            is_last: false,
            steps: (&steps, 0),
            status: &status,
            origin: 1,
        };
        proximal::decide(plan, &args)
    }),
    ("proximal/weight_step", |b, plan| {
        let (gradient, weights, control) = (b.weights()?, b.weights()?, b.control()?);
        let pull = b.pull(&gradient, &weights, &control);
        proximal::weight_step(plan, pull, (&b.list(4)?, 0), &b.weights()?)
    }),
    ("exact/damping", |b, plan| {
        let (matrix, sums, ridge) = (b.weights()?, b.list(b.width)?, b.list(4)?);
        let gram = Gram { matrix: &matrix, sums: Some(&sums) };
        exact::damping(plan, gram, b.damping(), &b.control()?, &ridge, (&b.list(4)?, 0))
    }),
    ("exact/damped", |b, plan| {
        let (matrix, sums) = (b.weights()?, b.list(b.width)?);
        let gram = Gram { matrix: &matrix, sums: Some(&sums) };
        exact::damped(plan, gram, b.damping(), (&b.list(4)?, 0), &b.weights()?)
    }),
    ("exact/right_side", |b, plan| {
        let (weights, list, ridge) = (b.weights()?, b.list(b.width)?, b.list(4)?);
        let args = RightSide { weights: &weights, mean: &list, sums: &list, ridge: &ridge, layer: 0 };
        exact::right_side(plan, args, &b.weights()?)
    }),
    ("anderson/open", |b, plan| {
        let params = anderson::OpenParams {
            watching: 1,
            first: 0,
            second: 1,
            memory: COLUMNS,
            start: 3,
            period: 2,
            extrapolating: 0,
            first_step: 1.0,
        };
        anderson::open(plan, &b.control()?, &b.ledger()?, params)
    }),
    ("anderson/columns", |b, plan| {
        let (live, x, f, g) = (b.portion()?, b.portion()?, b.portion()?, b.portion()?);
        let (ledger, history) = (b.ledger()?, b.history()?);
        let chunks = anderson::column_partials(b.stage.gpu().capabilities().class, &live);
        let args = anderson::Columns {
            live: &live,
            x: &x,
            ledger: &ledger,
            f: &f,
            g: &g,
            history: &history,
            partials: &b.matrix(anderson::pair_count(COLUMNS), 4 * chunks)?,
            memory: COLUMNS,
            offset: 0,
            chunks,
        };
        anderson::columns(plan, &args)
    }),
    ("anderson/solve", |b, plan| {
        let chunks = b.samples;
        let args = anderson::Solve {
            partials: &b.matrix(anderson::pair_count(COLUMNS), 4 * chunks)?,
            chunks,
            gram: &b.list(anderson::GRAM_LENGTH)?,
            ledger: &b.ledger()?,
            memory: COLUMNS,
            regularisation: 1e-6,
        };
        anderson::solve(plan, &args)
    }),
    ("anderson/mix", |b, plan| {
        anderson::mix(plan, &b.portion()?, (&b.history()?, COLUMNS), &b.ledger()?, &b.portion()?)
    }),
    ("anderson/extrapolate", |b, plan| anderson::extrapolate(plan, &b.ledger()?, &b.side()?, &b.side()?)),
    ("anderson/copy_where", |b, plan| {
        anderson::copy_where(plan, &b.side()?, anderson::When::Always, &b.ledger()?, &b.side()?)
    }),
    ("anderson/judge", |b, plan| {
        let rule = anderson::StepRule { growth: 1.5, most: 16.0, least: 0.25 };
        anderson::judge(plan, (&b.list(4)?, 0), (&b.list(4)?, 1), &b.ledger()?, rule)
    }),
    ("optimizer/finite", |b, plan| {
        let gradients = b.slab(SUB_BATCHES)?;
        let stretches: Vec<_> = Stretch::all(&gradients, 0, gradients.shape().stride()).collect();
        optimizer::finite(plan, &stretches, f32::MAX, &b.words(&[optimizer::NOTHING_FOUND])?)
    }),
    ("first_order/clock", |b, plan| {
        let settings = b.list(first_order::SETTINGS_LENGTH)?;
        first_order::clock(plan, &settings, &b.words(&[0])?, &b.list(first_order::CLOCK_LENGTH)?)
    }),
    ("first_order/sgd", |b, plan| {
        first_order::sgd(plan, &b.slab(1)?, &b.stage.clock(first_order::CLOCK_LENGTH)?, &b.slab(1)?)
    }),
    ("first_order/step", |b, plan| {
        let clock = b.stage.clock(first_order::CLOCK_LENGTH)?;
        let state = b.stage.gpu().zeros(Shape::new(2, b.width * b.width), StorageType::F32)?;
        first_order::step(plan, Method::Adam, &b.slab(1)?, &clock, &state, &b.slab(1)?)
    }),
    ("first_order/sparse_sgd", |b, plan| {
        b.penalty(|penalty| {
            let clock = b.stage.clock(first_order::CLOCK_LENGTH)?;
            first_order::sparse_sgd(plan, &b.slab(1)?, &clock, penalty, &b.slab(1)?)
        })
    }),
    ("first_order/sparse_step", |b, plan| {
        b.penalty(|penalty| {
            let clock = b.stage.clock(first_order::CLOCK_LENGTH)?;
            let state = b.stage.gpu().zeros(Shape::new(2, b.width * b.width), StorageType::F32)?;
            first_order::sparse_step(plan, Method::Adam, &b.slab(1)?, &clock, penalty, &state, &b.slab(1)?)
        })
    }),
    ("badm/clock", |b, plan| {
        let (settings, weights) = (b.list(badm::SETTINGS_LENGTH)?, b.list(SUB_BATCHES)?);
        let clock = b.list(badm::clock_length(SUB_BATCHES))?;
        badm::clock(plan, &settings, &weights, &b.words(&[0])?, &clock, (0, SUB_BATCHES))
    }),
    ("badm/step", |b, plan| {
        let gradients = b.slab(SUB_BATCHES)?;
        b.badm_step(|args| badm::step(plan, &gradients, args))
    }),
    ("badm/step_apart", |b, plan| {
        let gradients = (0..SUB_BATCHES).map(|_| b.slab(1)).collect::<Result<Vec<_>, _>>()?;
        b.badm_step(|args| badm::step_apart(plan, &gradients, args))
    }),
    ("nm/project", |b, plan| {
        let (w, pattern) = (b.weights()?, b.pattern());
        let mask = b.stage.gpu().zeros(pattern.mask(w.shape())?, StorageType::U32)?;
        nm::project(plan, pattern, &w, &b.weights()?, &mask, &b.words(&[optimizer::NOTHING_FOUND])?)
    }),
    ("nm/admm_update", |b, plan| {
        let (w, pattern) = (b.weights()?, b.pattern());
        let chunks = nm::Place::alone(pattern, w.shape()).update_chunks()?;
        let args = Update {
            group: pattern.group(),
            w: &w,
            chunks: &nm::upload_chunks(b.stage.gpu(), &chunks)?,
            settings: &b.list(nm::SETTINGS_LENGTH)?,
            t: &b.weights()?,
            partials: &b.list(8 * chunks.len() as u32)?,
            slot: 0,
        };
        nm::admm_update(plan, args)
    }),
    ("nm/measure", |b, plan| {
        let chunks = nm::Place::alone(b.pattern(), b.weights()?.shape()).update_chunks()?.len() as u32;
        let args = nm::Measure {
            partials: &b.list(8 * chunks)?,
            ranges: &b.words(&[0, chunks])?,
            measures: &b.list(8)?,
            settings: &b.list(nm::SETTINGS_LENGTH)?,
            status: &b.list(dladmm::STATUS_LENGTH)?,
        };
        nm::measure(plan, args)
    }),
    ("nm/divisors", |b, plan| {
        let shape = b.weights()?.shape();
        let chunks = nm::Place::alone(b.pattern(), shape).divisor_chunks()?;
        let state = b.stage.gpu().zeros(Shape::new(2, b.width * b.width), StorageType::F32)?;
        let (clock, sums) = (b.stage.clock(first_order::CLOCK_LENGTH)?, b.list(chunks.len() as u32)?);
        nm::divisors(plan, Method::Adam, &state, &nm::upload_chunks(b.stage.gpu(), &chunks)?, &clock, &sums)
    }),
    ("nm/auto_rho", |b, plan| {
        let chunks = nm::Place::alone(b.pattern(), b.weights()?.shape()).divisor_chunks()?.len() as u32;
        let clock = b.stage.clock(first_order::CLOCK_LENGTH)?;
        let settings = b.list(nm::SETTINGS_LENGTH)?;
        nm::auto_rho(plan, &b.list(chunks)?, &b.words(&[0, chunks])?, &clock, &settings)
    }),
    ("nm/pack", |b, plan| {
        let (w, pattern) = (b.weights()?, b.pattern());
        // Two of each four, whatever they are.
        let mask = b.stage.gpu().zeros(pattern.mask(w.shape())?, StorageType::U32)?;
        b.stage.gpu().write(&mask, &vec![0x3333_3333u32; mask.shape().elements() as usize])?;
        let (values, places) = b.packed(pattern)?;
        nm::pack(plan, pattern, &w, &mask, Packed { values: &values, places: &places })
    }),
    ("nm/unpack", |b, plan| {
        let pattern = b.pattern();
        let (values, places) = b.packed(pattern)?;
        nm::unpack(plan, pattern, Packed { values: &values, places: &places }, &b.weights()?)
    }),
];

impl fmt::Display for Layer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} samples, width {}", self.samples, self.width)
    }
}

impl Layer<'_> {
    /// Values in −½…½, so that nothing grows when an update is replayed.
    fn matrix(&self, rows: u32, columns: u32) -> Result<Tensor, Error> {
        let value = |k: u32| (k.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 24) as f32 - 0.5;
        self.stage
            .gpu()
            .upload(Shape::new(rows, columns), &(0..rows * columns).map(value).collect::<Vec<_>>())
    }

    /// As a graph of so many nodes as there are samples, each with neighbours far and wide.
    fn neighbours(&self) -> Result<Sparse, Error> {
        let starts: Vec<u32> = (0..=self.samples).map(|row| row * NEIGHBOURS).collect();
        let index =
            |entry: u32| (entry / NEIGHBOURS + entry % NEIGHBOURS * (self.samples / 3)) % self.samples;
        let indices: Vec<u32> = (0..self.samples * NEIGHBOURS).map(index).collect();
        let values = vec![1.0 / NEIGHBOURS as f32; indices.len()];
        Sparse::upload(self.stage.gpu(), self.samples, &starts, &indices, &values)
    }

    /// One element in a hundred of a matrix of words and texts, either way round.
    fn bags(&self, rows: u32, columns: u32) -> Result<Sparse, Error> {
        let (mut starts, mut indices) = (vec![0], Vec::new());
        for row in 0..rows {
            indices.extend((0..columns).filter(|column| (row + 7 * column).is_multiple_of(100)));
            starts.push(indices.len() as u32);
        }
        Sparse::upload(self.stage.gpu(), columns, &starts, &indices, &vec![1.0; indices.len()])
    }

    /// Samples × width.
    fn side(&self) -> Result<Tensor, Error> {
        self.matrix(self.samples, self.width)
    }

    fn weights(&self) -> Result<Tensor, Error> {
        self.matrix(self.width, self.width)
    }

    fn logits(&self) -> Result<Tensor, Error> {
        self.matrix(self.samples, CLASSES)
    }

    fn list(&self, length: u32) -> Result<Tensor, Error> {
        self.stage.gpu().zeros(Shape::vector(length), StorageType::F32)
    }

    /// Room for any first pass.
    fn partials(&self) -> Result<Tensor, Error> {
        self.list(4 * self.samples + 4 * self.width)
    }

    fn words(&self, words: &[u32]) -> Result<Tensor, Error> {
        self.stage.gpu().upload_u32(Shape::vector(words.len() as u32), words)
    }

    /// Rows of as many parameters as a layer has.
    fn slab(&self, rows: u32) -> Result<Tensor, Error> {
        self.matrix(rows, self.width * self.width)
    }

    /// A penalty on all parameters.
    fn penalty(&self, record: impl FnOnce(Penalty<'_>) -> Result<(), Error>) -> Result<(), Error> {
        let runs = (self.width * self.width).div_ceil(first_order::RUN);
        record(Penalty {
            kind: PenaltyKind::Pull,
            settings: &self.list(nm::SETTINGS_LENGTH)?,
            places: &self.words(&(0..runs).flat_map(|run| [run, 0]).collect::<Vec<_>>())?,
            t: &self.matrix(1, runs * first_order::RUN)?,
        })
    }

    fn pattern(&self) -> NmPattern {
        NmPattern::new(2, 4).expect("a pattern")
    }

    /// Values and places of packed weights.
    fn packed(&self, pattern: NmPattern) -> Result<(Tensor, Tensor), Error> {
        let weights = Shape::new(self.width, self.width);
        let values = pattern.values(weights)?;
        Ok((
            self.matrix(values.rows, values.columns)?,
            self.stage.gpu().zeros(pattern.places(weights)?, StorageType::U32)?,
        ))
    }

    fn badm_step(&self, record: impl FnOnce(&badm::Step<'_>) -> Result<(), Error>) -> Result<(), Error> {
        record(&badm::Step {
            clock: &self.stage.clock(badm::clock_length(SUB_BATCHES))?,
            first: 0,
            row: 0,
            pi: &self.slab(SUB_BATCHES)?,
            m: &self.slab(SUB_BATCHES)?,
            moment: SecondMoment::Dual,
            w: &self.slab(1)?,
        })
    }

    fn labels(&self) -> Result<Tensor, Error> {
        let labels: Vec<u32> = (0..self.samples).map(|k| k % CLASSES).collect();
        self.stage.gpu().upload_u32(Shape::vector(self.samples), &labels)
    }

    fn cursor(&self) -> Result<Tensor, Error> {
        self.stage.gpu().zeros(Shape::vector(batch::CURSOR_LENGTH), StorageType::U32)
    }

    fn pull<'a>(&self, gradient: &'a Tensor, weights: &'a Tensor, control: &'a Tensor) -> Pull<'a> {
        Pull { gradient, weights, lambda: 1e-2, control, last_layer: false }
    }

    fn damping(&self) -> Damping {
        Damping::Weights { samples: self.samples, layer: 0, damping: 0.1, ridge: 0.01, last_layer: false }
    }

    fn control(&self) -> Result<Tensor, Error> {
        self.stage
            .gpu()
            .upload(Shape::vector(dladmm::CONTROL_LENGTH), &[1e-2, 1e-2, 1.0, 1.0, 0.0, 0.0, f32::MAX, 0.0])
    }

    /// An accelerator with a full history in the middle of a try, all of whose weights are zero.
    fn ledger(&self) -> Result<Tensor, Error> {
        self.stage.ledger(COLUMNS)
    }

    /// As many samples as an accelerator takes at once: their history fits one binding.
    fn portion_rows(&self) -> u32 {
        let row = anderson::history_shape(Shape::new(1, self.width), COLUMNS).stored() * 4;
        self.samples.min((self.stage.gpu().capabilities().binding_limit / row) as u32)
    }

    fn portion(&self) -> Result<Tensor, Error> {
        self.matrix(self.portion_rows(), self.width)
    }

    fn history(&self) -> Result<Tensor, Error> {
        let portion = Shape::new(self.portion_rows(), self.width);
        self.stage.gpu().zeros(anderson::history_shape(portion, COLUMNS), StorageType::F32)
    }

    fn changes(&self, args: &LastLayer<'_>) -> Result<Tensor, Error> {
        self.matrix(dladmm::fista_change_rows(self.stage.gpu().capabilities().class, args.z.shape()), 4)
    }

    fn last_layer(&self, record: impl FnOnce(&LastLayer<'_>) -> Result<(), Error>) -> Result<(), Error> {
        record(&LastLayer {
            product: &self.logits()?,
            bias: &self.list(CLASSES)?,
            dual: &self.logits()?,
            targets: &self.labels()?,
            control: &self.control()?,
            z: &self.logits()?,
        })
    }
}

fn ask(bench: &mut support::Bench<'_>) -> Result<(), Error> {
    let names: Vec<&str> = kernels::ALL.iter().map(|kernel| kernel.name).collect();
    assert_eq!(names, ROWS.iter().map(|row| row.0).collect::<Vec<_>>(), "one bench per kernel");
    let (samples, width) = if bench.stage().size() == Size::Tiny { (64, 32) } else { (5000, 1000) };
    let layer = Layer { stage: bench.stage(), samples, width };
    let rows =
        ROWS.iter().map(|(name, record)| Row::replays(layer.stage.gpu(), *name, |plan| record(&layer, plan)));
    bench.list(&layer.to_string(), rows)
}

fn main() {
    support::main("kernels", ask);
}
