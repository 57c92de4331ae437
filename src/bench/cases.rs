//! What the bench measures: kernels on operands that share a few large buffers, each call a plan of its own.

use super::Size;
use crate::Error;
use crate::engine::{Gpu, Plan, PlanBuilder, Shape, StorageType, Tensor};
use crate::kernels::first_order::{self, Method, Penalty, PenaltyKind};
use crate::kernels::linalg::{self, Transposed};
use crate::kernels::nm::{self, NmPattern, Packed, Update};
use crate::kernels::sparse::{self, Sparse};
use crate::kernels::{Activation, anderson, badm, dladmm, elementwise, loss, optimizer, reduce};

/// Columns of the matrices that elementwise kernels take.
const WIDTH: u32 = 1024;
/// Columns of the skinny product, and of the results of graph convolutions.
const SKINNY: u32 = 32;
const CLASSES: u32 = 10;
/// Sub-batches of a BADM step.
const SUB_BATCHES: u32 = 4;
/// Columns of an accelerator's history.
const MEMORY: u32 = 4;
/// Entries in each row of a sparse matrix, as many as a node of Cora has neighbours, itself included.
const NEIGHBOURS: u32 = 5;
/// By which a chain of multiply-adds stays near 1.
const SCALE_AND_SHIFT: (f32, f32) = (0.999, 0.001);

/// A call to be timed.
#[derive(Debug)]
pub struct Case {
    /// `family/kernel`.
    pub kernel: &'static str,
    /// On operands of what shapes.
    pub work: String,
    /// Holds the call and nothing else.
    pub plan: Plan,
}

/// The memory that all calls to be timed take turns in: two buffers that are only read, holding values in −½…½, and three
/// that are written, which start as zeros.
#[derive(Debug)]
pub struct Stage<'a> {
    gpu: &'a Gpu,
    size: Size,
    bytes: u64,
    inputs: [wgpu::Buffer; 2],
    outputs: [wgpu::Buffer; 3],
}

impl<'a> Stage<'a> {
    /// Buffers of this size, or of one binding where that is less.
    ///
    /// # Errors
    /// [`Error::Limit`] when the device's memory does not hold them; [`Error::DeviceFault`] when the device failed.
    pub fn new(gpu: &'a Gpu, size: Size) -> Result<Self, Error> {
        // Whole MiB, so that every shape below comes out even.
        let bytes = size.sizes().operand_bytes.min(gpu.capabilities().binding_limit >> 20 << 20);
        let scope = gpu.device().push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let buffer = || {
            gpu.device().create_buffer(&wgpu::BufferDescriptor {
                label: Some("dualstep bench"),
                size: bytes,
                usage: wgpu::BufferUsages::STORAGE
                    | wgpu::BufferUsages::COPY_SRC
                    | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        };
        let (inputs, outputs) = ([buffer(), buffer()], [buffer(), buffer(), buffer()]);
        if pollster::block_on(scope.pop()).is_some() {
            return Err(Error::Limit {
                what: format!("the {} size of the bench", size.name()),
                needed: format!("{} MiB", (5 * bytes) >> 20),
                allowed: "less".into(),
                remedy: "choose a smaller --size",
            });
        }
        let stage = Self { gpu, size, bytes, inputs, outputs };
        stage.inputs.iter().try_for_each(|buffer| stage.fill(buffer))?;
        Ok(stage)
    }

    /// The device.
    pub fn gpu(&self) -> &'a Gpu {
        self.gpu
    }

    /// Of each buffer.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How large operands are.
    pub fn size(&self) -> Size {
        self.size
    }

    /// Writes a block of values again and again, a portion at a time, since the host's copies live until they are taken.
    fn fill(&self, buffer: &wgpu::Buffer) -> Result<(), Error> {
        const BLOCK: u32 = 1 << 18;
        const BLOCKS_AT_ONCE: usize = 32;
        let value = |k: u32| (k.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 24) as f32 - 0.5;
        let block: Vec<f32> = (0..BLOCK).map(value).collect();
        let starts: Vec<u64> = (0..self.bytes).step_by(4 * BLOCK as usize).collect();
        for portion in starts.chunks(BLOCKS_AT_ONCE) {
            for start in portion {
                self.gpu.queue().write_buffer(buffer, *start, bytemuck::cast_slice(&block));
            }
            self.gpu.queue().submit([]);
            self.gpu.wait()?;
        }
        Ok(())
    }

    /// One of the two buffers that are only read, as a matrix.
    ///
    /// # Errors
    /// [`Error::Plan`] when it does not hold the matrix.
    ///
    /// # Panics
    /// If there is no such buffer.
    pub fn input(&self, which: usize, shape: Shape) -> Result<Tensor, Error> {
        self.gpu.wrap(&self.inputs[which], 0, shape, StorageType::F32)
    }

    /// One of the three buffers that are written, as a matrix.
    ///
    /// # Errors
    /// [`Error::Plan`] when it does not hold the matrix.
    ///
    /// # Panics
    /// If there is no such buffer.
    pub fn output(&self, which: usize, shape: Shape) -> Result<Tensor, Error> {
        self.stored_output(which, shape, StorageType::F32)
    }

    fn stored_output(&self, which: usize, shape: Shape, storage: StorageType) -> Result<Tensor, Error> {
        self.gpu.wrap(&self.outputs[which], 0, shape, storage)
    }

    /// A list of zeros of its own.
    fn list(&self, length: u32) -> Result<Tensor, Error> {
        self.gpu.zeros(Shape::vector(length), StorageType::F32)
    }

    fn words(&self, words: &[u32]) -> Result<Tensor, Error> {
        self.gpu.upload_u32(Shape::vector(words.len() as u32), words)
    }

    /// An optimizer's clock of this many words that lets a step be taken, and moves nothing.
    ///
    /// # Errors
    /// [`Error::Limit`] when it does not fit the device.
    ///
    /// # Panics
    /// If it has no words.
    pub fn clock(&self, length: u32) -> Result<Tensor, Error> {
        let mut words = vec![0; length as usize];
        words[0] = 1;
        self.words(&words)
    }

    /// The ledger of an accelerator whose history of so many columns is full, in the middle of a try.
    ///
    /// # Errors
    /// [`Error::Limit`] when it does not fit the device.
    pub fn ledger(&self, memory: u32) -> Result<Tensor, Error> {
        let mut words = [0; anderson::LEDGER_LENGTH as usize];
        // columns, has_previous, forms, due, tried
        (words[1], words[3], words[5], words[6], words[7]) = (memory, 1, 1, 1, 1);
        self.words(&words)
    }

    /// f32 elements of a buffer.
    fn elements(&self) -> u32 {
        (self.bytes / 4) as u32
    }

    /// Of a square matrix: this one, or of its halves the first whose matrix a buffer holds.
    fn side_that_fits(&self, side: u32) -> u32 {
        let fits = |side: &u32| u64::from(*side) * u64::from(*side) * 4 <= self.bytes;
        std::iter::successors(Some(side), |side| Some(side / 2)).find(fits).unwrap_or(0)
    }

    /// The shape of a matrix that fills one of so many parts of a buffer.
    pub fn matrix(&self, parts: u32, columns: u32) -> Shape {
        Shape::new(self.elements() / parts / columns.next_multiple_of(4), columns)
    }
}

/// The cases that were asked for.
struct Cases<'s, 'a> {
    stage: &'s Stage<'a>,
    wanted: &'s dyn Fn(&str) -> bool,
    found: Vec<Case>,
}

impl Stage<'_> {
    /// The calls that bandwidth and arithmetic are measured with: `elementwise/copy` and `elementwise/multiply_add`.
    ///
    /// # Errors
    /// [`Error::Limit`] when operands do not fit the device; [`Error::Shader`] when a kernel does not compile.
    pub fn ceilings(&self) -> Result<[Case; 2], Error> {
        let whole = self.matrix(1, WIDTH);
        let copy = self.case("elementwise/copy", whole.to_string(), |plan| {
            elementwise::copy(plan, &self.input(0, whole)?, &self.output(0, whole)?)
        })?;
        // Few elements, but more than the lanes of any device; many steps for each.
        let part = self.matrix(16, WIDTH);
        let rounds = self.size.sizes().rounds;
        let work = format!("{part}, {} times", rounds * elementwise::STEPS_PER_ROUND);
        let multiply_add = self.case("elementwise/multiply_add", work, |plan| {
            let (x, y) = (self.input(0, part)?, self.output(0, part)?);
            elementwise::multiply_add(plan, &x, rounds, SCALE_AND_SHIFT, &y)
        })?;
        Ok([copy, multiply_add])
    }

    fn case(
        &self,
        kernel: &'static str,
        work: String,
        record: impl FnOnce(&mut PlanBuilder) -> Result<(), Error>,
    ) -> Result<Case, Error> {
        let mut plan = PlanBuilder::new(self.gpu, kernel);
        record(&mut plan)?;
        Ok(Case { kernel, work, plan: plan.finish()? })
    }

    /// Calls of the kernels that solvers spend their time on, as `wanted` picks them by kernel and work, such as
    /// `linalg/gram 1000 × 1000 × 4096, AᵀA`.
    ///
    /// # Errors
    /// [`Error::Limit`] when operands do not fit the device; [`Error::Shader`] when a kernel does not compile.
    pub fn cases(&self, wanted: impl Fn(&str) -> bool) -> Result<Vec<Case>, Error> {
        let mut cases = Cases { stage: self, wanted: &wanted, found: Vec::new() };
        elementwise_and_sums(&mut cases)?;
        products(&mut cases)?;
        steps(&mut cases)?;
        patterns(&mut cases)?;
        packed_products(&mut cases)?;
        histories(&mut cases)?;
        losses_and_graphs(&mut cases)?;
        Ok(cases.found)
    }
}

impl Cases<'_, '_> {
    /// Records a call, if it is wanted.
    fn add(
        &mut self,
        kernel: &'static str,
        work: impl Into<String>,
        record: impl FnOnce(&mut PlanBuilder) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let work = work.into();
        if (self.wanted)(&format!("{kernel} {work}")) {
            self.found.push(self.stage.case(kernel, work, record)?);
        }
        Ok(())
    }
}

fn elementwise_and_sums(cases: &mut Cases<'_, '_>) -> Result<(), Error> {
    let stage = cases.stage;
    let whole = stage.matrix(1, WIDTH);
    let work = || whole.to_string();
    let partials = || stage.list(4 * reduce::partial_count(&stage.input(0, whole)?));
    cases.add("elementwise/descend", work(), |plan| {
        elementwise::descend(plan, &stage.input(0, whole)?, &stage.list(4)?, 0, &stage.output(0, whole)?)
    })?;
    cases.add("elementwise/activate", format!("{whole}, ReLU"), |plan| {
        let (product, activation) = (stage.input(0, whole)?, stage.output(0, whole)?);
        elementwise::activate(plan, &product, &stage.list(WIDTH)?, &activation, Activation::Relu)
    })?;
    cases.add("dladmm/hidden_z", format!("{whole}, ReLU"), |plan| {
        let (product, activation) = (stage.input(0, whole)?, stage.input(1, whole)?);
        let z = stage.output(0, whole)?;
        dladmm::hidden_z(plan, &product, &stage.list(WIDTH)?, &activation, &z, Activation::Relu)
    })?;
    cases.add("reduce/dot", work(), |plan| {
        reduce::dot(plan, &stage.input(0, whole)?, &stage.input(1, whole)?, &partials()?, 0)
    })?;
    cases.add("reduce/dots", work(), |plan| {
        reduce::dots(plan, &stage.input(0, whole)?, &stage.input(1, whole)?, &partials()?, 0)
    })
}

fn products(cases: &mut Cases<'_, '_>) -> Result<(), Error> {
    use Transposed::{No, Yes};
    let stage = cases.stage;
    for side in stage.size.sizes().sides {
        product(cases, (*side, *side, *side), (No, No))?;
    }
    let (width, samples) = stage.size.sizes().layer;
    // A layer forwards, its gradient by the activations, and one with few outputs.
    product(cases, (samples, width, width), (No, Yes))?;
    product(cases, (samples, width, width), (No, No))?;
    product(cases, (samples, SKINNY, width), (No, Yes))?;
    let (side, result) = (Shape::new(samples, width), Shape::new(width, width));
    cases.add("linalg/matmul_add", format!("{width} × {width} × {samples}, AᵀB"), |plan| {
        let (left, right) = (stage.input(0, side)?, stage.input(1, side)?);
        linalg::matmul_add(plan, (&left, Yes), (&right, No), &stage.output(0, result)?)
    })?;
    cases.add("linalg/gram", format!("{width} × {width} × {samples}, AᵀA"), |plan| {
        linalg::gram(plan, &stage.input(0, side)?, &stage.output(0, result)?)
    })
}

/// op(A) op(B) of so many rows, columns and terms.
fn product(
    cases: &mut Cases<'_, '_>,
    (rows, columns, inner): (u32, u32, u32),
    (left, right): (Transposed, Transposed),
) -> Result<(), Error> {
    let stage = cases.stage;
    let stored = |rows, columns, transposed| match transposed {
        Transposed::No => Shape::new(rows, columns),
        Transposed::Yes => Shape::new(columns, rows),
    };
    let mark = |transposed| if transposed == Transposed::Yes { "ᵀ" } else { "" };
    let work = format!("{rows} × {columns} × {inner}, A{}B{}", mark(left), mark(right));
    cases.add("linalg/matmul", work, |plan| {
        let a = stage.input(0, stored(rows, inner, left))?;
        let b = stage.input(1, stored(inner, columns, right))?;
        linalg::matmul(plan, (&a, left), (&b, right), &stage.output(0, Shape::new(rows, columns))?)
    })
}

fn steps(cases: &mut Cases<'_, '_>) -> Result<(), Error> {
    let stage = cases.stage;
    let count = stage.elements() / 8;
    let w = Shape::vector(count);
    let state = Shape::new(Method::Adam.rows(), count);
    cases.add("first_order/step", format!("{count}, Adam"), |plan| {
        let clock = stage.clock(first_order::CLOCK_LENGTH)?;
        let (gradient, state, w) = (stage.input(0, w)?, stage.output(0, state)?, stage.output(1, w)?);
        first_order::step(plan, Method::Adam, &gradient, &clock, &state, &w)
    })?;
    cases.add("first_order/sparse_step", format!("{count}, Adam, N:M pull"), |plan| {
        let places: Vec<u32> = (0..count / first_order::RUN).flat_map(|run| [run, 0]).collect();
        let penalty = Penalty {
            kind: PenaltyKind::Pull,
            settings: &stage.list(nm::SETTINGS_LENGTH)?,
            places: &stage.words(&places)?,
            t: &stage.input(1, w)?,
        };
        let clock = stage.clock(first_order::CLOCK_LENGTH)?;
        let (gradient, state, w) = (stage.input(0, w)?, stage.output(0, state)?, stage.output(1, w)?);
        first_order::sparse_step(plan, Method::Adam, &gradient, &clock, penalty, &state, &w)
    })?;
    for (storage, name) in [(StorageType::F32, "f32"), (StorageType::Bf16, "bf16")] {
        cases.add("badm/step", format!("{SUB_BATCHES} × {count}, {name}"), |plan| {
            let rows = Shape::new(SUB_BATCHES, count);
            let args = badm::Step {
                clock: &stage.clock(badm::clock_length(SUB_BATCHES))?,
                first: 0,
                row: 0,
                pi: &stage.stored_output(0, rows, storage)?,
                m: &stage.stored_output(1, rows, storage)?,
                moment: badm::SecondMoment::Dual,
                w: &stage.output(2, w)?,
            };
            badm::step(plan, &stage.input(0, rows)?, &args)
        })?;
    }
    Ok(())
}

/// The pattern that hardware knows.
fn two_of_four() -> Result<NmPattern, Error> {
    NmPattern::new(2, 4)
}

fn patterns(cases: &mut Cases<'_, '_>) -> Result<(), Error> {
    let stage = cases.stage;
    let pattern = two_of_four()?;
    let whole = stage.matrix(1, WIDTH);
    cases.add("nm/project", format!("{whole}, {pattern}"), |plan| {
        let (w, projected) = (stage.input(0, whole)?, stage.output(0, whole)?);
        let mask = stage.stored_output(1, pattern.mask(whole)?, StorageType::U32)?;
        nm::project(plan, pattern, &w, &projected, &mask, &stage.words(&[optimizer::NOTHING_FOUND])?)
    })?;
    cases.add("nm/admm_update", format!("{whole}, {pattern}"), |plan| {
        let chunks = nm::Place::alone(pattern, whole).update_chunks()?;
        let update = Update {
            group: pattern.group(),
            w: &stage.input(0, whole)?,
            chunks: &nm::upload_chunks(stage.gpu, &chunks)?,
            settings: &stage.list(nm::SETTINGS_LENGTH)?,
            t: &stage.output(0, whole)?,
            partials: &stage.list(8 * chunks.len() as u32)?,
            slot: 0,
        };
        nm::admm_update(plan, update)
    })
}

/// Packed weights beside dense ones, in a product with a matrix and in one with a vector.
fn packed_products(cases: &mut Cases<'_, '_>) -> Result<(), Error> {
    let (stage, pattern) = (cases.stage, two_of_four()?);
    for (samples, side) in stage.size.sizes().packed {
        let side = stage.side_that_fits(side);
        let (left, weights) = (Shape::new(samples, side), Shape::new(side, side));
        product(cases, (samples, side, side), (Transposed::No, Transposed::Yes))?;
        let kernel = if samples == 1 { "linalg/matvec_nm" } else { "linalg/matmul_nm" };
        cases.add(kernel, format!("{samples} × {side} × {side}, {pattern}"), |plan| {
            let places = pattern.places(weights)?;
            let words: Vec<u32> = (0..places.elements() as u32).map(two_of_each_four).collect();
            let packed = Packed {
                values: &stage.input(1, pattern.values(weights)?)?,
                places: &stage.gpu.upload_u32(places, &words)?,
            };
            let (left, product) = (stage.input(0, left)?, stage.output(0, Shape::new(samples, side))?);
            match samples {
                1 => linalg::matvec_nm(plan, &left, pattern, packed, &product),
                _ => linalg::matmul_nm(plan, &left, pattern, packed, &product),
            }
        })?;
    }
    Ok(())
}

/// A word of places for eight groups of four, two ascending ones in each.
fn two_of_each_four(word: u32) -> u32 {
    /// First place in the lower bits, second in the upper.
    const PAIRS: [u32; 6] = [0b0100, 0b1000, 0b1100, 0b1001, 0b1101, 0b1110];
    let drawn = |group: u32| (word * 8 + group).wrapping_mul(2_654_435_761) >> 16;
    (0..8).map(|group| PAIRS[(drawn(group) % 6) as usize] << (4 * group)).sum()
}

/// Anderson acceleration: the newest column with its products, and the candidate.
fn histories(cases: &mut Cases<'_, '_>) -> Result<(), Error> {
    let stage = cases.stage;
    let shape = stage.matrix(2 * MEMORY, WIDTH);
    let history = anderson::history_shape(shape, MEMORY);
    let work = format!("{shape}, {MEMORY} columns");
    cases.add("anderson/columns", work.clone(), |plan| {
        let live = stage.input(0, shape)?;
        let chunks = anderson::column_partials(stage.gpu.capabilities().class, &live);
        let partials = Shape::new(anderson::pair_count(MEMORY), 4 * chunks);
        let args = anderson::Columns {
            live: &live,
            x: &stage.input(1, shape)?,
            ledger: &stage.ledger(MEMORY)?,
            f: &stage.output(0, shape)?,
            g: &stage.output(1, shape)?,
            history: &stage.output(2, history)?,
            partials: &stage.gpu.zeros(partials, StorageType::F32)?,
            memory: MEMORY,
            offset: 0,
            chunks,
        };
        anderson::columns(plan, &args)
    })?;
    cases.add("anderson/mix", work, |plan| {
        let (g, live) = (stage.input(0, shape)?, stage.output(0, shape)?);
        anderson::mix(plan, &g, (&stage.input(1, history)?, MEMORY), &stage.ledger(MEMORY)?, &live)
    })
}

fn losses_and_graphs(cases: &mut Cases<'_, '_>) -> Result<(), Error> {
    let stage = cases.stage;
    let logits = stage.matrix(4, CLASSES);
    let labels: Vec<u32> = (0..logits.rows).map(|sample| sample % CLASSES).collect();
    let partials = || stage.list(4 * loss::partial_count(logits.rows));
    cases.add("loss/softmax_scores", logits.to_string(), |plan| {
        let (product, bias, labels) = (stage.input(0, logits)?, stage.list(CLASSES)?, stage.words(&labels)?);
        loss::softmax_scores(plan, &product, &bias, &labels, &partials()?, 0)
    })?;
    cases.add("loss/softmax_gradient", logits.to_string(), |plan| {
        let (product, bias, labels) = (stage.input(0, logits)?, stage.list(CLASSES)?, stage.words(&labels)?);
        let delta = stage.output(0, logits)?;
        loss::softmax_gradient(plan, (&product, &bias), &labels, SUB_BATCHES, &delta, (&partials()?, 0))
    })?;
    let nodes = stage.matrix(2, SKINNY);
    let work = format!("{nodes}, {NEIGHBOURS} entries a row");
    cases.add("sparse/product", work, |plan| {
        let graph = graph(stage.gpu, nodes.rows)?;
        sparse::product(plan, &graph, &stage.input(0, nodes)?, &stage.output(0, nodes)?)
    })
}

/// Nodes with neighbours far and wide.
fn graph(gpu: &Gpu, nodes: u32) -> Result<Sparse, Error> {
    let starts: Vec<u32> = (0..=nodes).map(|row| row * NEIGHBOURS).collect();
    let index = |entry: u32| (entry / NEIGHBOURS + entry % NEIGHBOURS * (nodes / 3)) % nodes;
    let indices: Vec<u32> = (0..nodes * NEIGHBOURS).map(index).collect();
    let values = vec![1.0 / NEIGHBOURS as f32; indices.len()];
    Sparse::upload(gpu, nodes, &starts, &indices, &values)
}
