//! What it saves to do several things in one kernel.
//!
//! Each fused kernel beside the same made of kernels that do one operation each, as a library of tensor operations runs it:
//! the z step of a hidden layer, Adam, and a product whose sum of squares is wanted. They must find the same. Fusing saves
//! bytes, so the controls are where there are none to save: one operation alone, and a product so long that the pass over its
//! result is nothing beside it. (BADM has a bench of its own.)

mod support;

use dualstep::Error;
use dualstep::bench::Size;
use dualstep::engine::{Gpu, PlanBuilder, Shape, StorageType, Tensor};
use dualstep::kernels::linalg::{self, Transposed};
use dualstep::kernels::{Activation, dladmm, elementwise, reduce};
use dualstep::solvers::first_order::{FirstOrder, FirstOrderConfig, Method};
use dualstep::solvers::optimizer::Guard;
use support::equations::{Equation, Equations, buffer, values};
use support::{Bench, Row};

const WIDTH: u32 = 1024;

/// c = P + b, the minima on either side of 0, and the better of them; Adam's moments, its direction with the corrections of
/// the first step, and the step; a copy.
const OPERATIONS: &str = "
    @group(0) @binding(0) var<storage, read_write> a: array<vec4f>;
    @group(0) @binding(1) var<storage, read_write> b: array<vec4f>;
    @group(0) @binding(2) var<storage, read_write> c: array<vec4f>;
    @group(0) @binding(3) var<storage, read_write> d: array<vec4f>;
    @group(0) @binding(4) var<storage, read_write> e: array<vec4f>;
    @group(0) @binding(5) var<storage, read_write> row: array<vec4f>;

    @compute @workgroup_size(256)
    fn add_bias(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
        let i = at(id, groups);
        if i < arrayLength(&c) {
            c[i] = a[i] + row[i % arrayLength(&row)];
        }
    }

    @compute @workgroup_size(256)
    fn below(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
        let i = at(id, groups);
        if i < arrayLength(&d) {
            d[i] = min(c[i], vec4f());
        }
    }

    @compute @workgroup_size(256)
    fn above(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
        let i = at(id, groups);
        if i < arrayLength(&e) {
            e[i] = max(0.5 * (c[i] + b[i]), vec4f());
        }
    }

    @compute @workgroup_size(256)
    fn better(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
        let i = at(id, groups);
        if i < arrayLength(&d) {
            let low = (d[i] - c[i]) * (d[i] - c[i]) + b[i] * b[i];
            let high = (e[i] - c[i]) * (e[i] - c[i]) + (b[i] - e[i]) * (b[i] - e[i]);
            d[i] = select(d[i], e[i], low > high);
        }
    }

    @compute @workgroup_size(256)
    fn first_moment(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
        let i = at(id, groups);
        if i < arrayLength(&b) {
            b[i] = 0.9 * b[i] + 0.1 * a[i];
        }
    }

    @compute @workgroup_size(256)
    fn second_moment(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
        let i = at(id, groups);
        if i < arrayLength(&c) {
            c[i] = 0.999 * c[i] + 0.001 * a[i] * a[i];
        }
    }

    @compute @workgroup_size(256)
    fn direction(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
        let i = at(id, groups);
        if i < arrayLength(&e) {
            e[i] = (b[i] / 0.1) / (sqrt(c[i] / 0.001) + 1e-8);
        }
    }

    @compute @workgroup_size(256)
    fn descend(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
        let i = at(id, groups);
        if i < arrayLength(&d) {
            d[i] -= 0.001 * e[i];
        }
    }

    @compute @workgroup_size(256)
    fn copied(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
        let i = at(id, groups);
        if i < arrayLength(&d) {
            d[i] = a[i];
        }
    }
";

/// Its entry point, the operands that it touches, and matrices that it must read or write.
type Operation = (&'static str, &'static [u32], u64);

const Z_STEP: &[Operation] = &[
    ("add_bias", &[0, 2, 5], 2),
    ("below", &[2, 3], 2),
    ("above", &[1, 2, 4], 3),
    ("better", &[1, 2, 3, 4], 5),
];
const ADAM: &[Operation] = &[
    ("first_moment", &[0, 1], 3),
    ("second_moment", &[0, 2], 3),
    ("direction", &[1, 2, 4], 3),
    ("descend", &[3, 4], 3),
];
const COPY: &[Operation] = &[("copied", &[0, 3], 2)];

/// Places of matrices: what operations begin with, what they leave, and what the fused kernel leaves.
const A: usize = 0;
const B: usize = 1;
const D: usize = 3;
const FUSED: usize = 5;

/// Five matrices and a row for the operations, and a matrix for the fused kernel.
struct Memory<'a> {
    gpu: &'a Gpu,
    matrices: [wgpu::Buffer; 6],
    row: wgpu::Buffer,
    shape: Shape,
}

impl<'a> Memory<'a> {
    /// Of zeros, but for what operations begin with.
    fn new(gpu: &'a Gpu, shape: Shape) -> Result<Self, Error> {
        let matrices = [(); 6].map(|()| buffer(gpu, shape.elements()));
        let memory = Self { gpu, matrices, row: buffer(gpu, WIDTH.into()), shape };
        gpu.write(&memory.matrix(A)?, &values(shape.elements(), 1.0))?;
        gpu.write(&memory.row()?, &values(WIDTH.into(), 0.3))?;
        Ok(memory)
    }

    fn matrix(&self, which: usize) -> Result<Tensor, Error> {
        self.gpu.wrap(&self.matrices[which], 0, self.shape, StorageType::F32)
    }

    /// A matrix as the one row that an optimizer takes.
    fn flat(&self, which: usize) -> Result<Tensor, Error> {
        let shape = Shape::vector(self.shape.elements() as u32);
        self.gpu.wrap(&self.matrices[which], 0, shape, StorageType::F32)
    }

    fn row(&self) -> Result<Tensor, Error> {
        self.gpu.wrap(&self.row, 0, Shape::vector(WIDTH), StorageType::F32)
    }

    /// The fused kernel and these operations, which leave the same.
    fn rows(
        &self,
        fused: &str,
        record: impl FnOnce(&mut PlanBuilder) -> Result<(), Error>,
        operations: &[Operation],
    ) -> Result<Vec<Row<'a>>, Error> {
        let (gpu, quads) = (self.gpu, self.shape.elements() / 4);
        let equation = |(name, operands, matrices): &Operation| Equation {
            name,
            operands,
            quads,
            moved: matrices * quads,
        };
        let [a, b, c, d, e, _] = &self.matrices;
        let buffers = [a, b, c, d, e, &self.row];
        let apart =
            Equations::new(gpu, OPERATIONS, &buffers, &operations.iter().map(equation).collect::<Vec<_>>());
        let name = format!("an operation a kernel, {}", operations.len());
        Ok(vec![
            Row::replays(gpu, format!("{fused} {}", self.shape), record)?.finding(gpu, &self.matrix(FUSED)?),
            Row::new(name, apart.counts(), move |replays| apart.time(replays)).finding(gpu, &self.matrix(D)?),
        ])
    }
}

fn ask(bench: &mut Bench<'_>) -> Result<(), Error> {
    z_step(bench)?;
    adam(bench)?;
    copy(bench)?;
    let (samples, inner) = if bench.stage().size() == Size::Tiny { (64, 64) } else { (4096, 2048) };
    sum_of_squares(bench, "a short product and its sum of squares", (samples, 16))?;
    sum_of_squares(bench, "control: a long product and its sum of squares", (samples / 4, inner))
}

fn z_step(bench: &mut Bench<'_>) -> Result<(), Error> {
    let memory = Memory::new(bench.stage().gpu(), bench.stage().matrix(2, WIDTH))?;
    let (product, activation) = (memory.matrix(A)?, memory.matrix(B)?);
    memory.gpu.write(&activation, &values(memory.shape.elements(), -0.7))?;
    let (bias, z) = (memory.row()?, memory.matrix(FUSED)?);
    let fused =
        |plan: &mut PlanBuilder| dladmm::hidden_z(plan, &product, &bias, &activation, &z, Activation::Relu);
    bench.group("the z step of a hidden layer", memory.rows("dladmm/hidden_z", fused, Z_STEP)?)
}

fn adam(bench: &mut Bench<'_>) -> Result<(), Error> {
    let memory = Memory::new(bench.stage().gpu(), bench.stage().matrix(2, WIDTH))?;
    let config = FirstOrderConfig { guard: Guard::Trust, ..FirstOrderConfig::pytorch(Method::Adam) };
    let rule = FirstOrder::new(memory.gpu, &config, &memory.flat(FUSED)?)?;
    let gradient = memory.flat(A)?;
    let fused = |plan: &mut PlanBuilder| rule.record(plan, &gradient);
    bench.group("a step of Adam", memory.rows("first_order/step", fused, ADAM)?)
}

fn copy(bench: &mut Bench<'_>) -> Result<(), Error> {
    let memory = Memory::new(bench.stage().gpu(), bench.stage().matrix(2, WIDTH))?;
    let (x, y) = (memory.matrix(A)?, memory.matrix(FUSED)?);
    let fused = |plan: &mut PlanBuilder| elementwise::copy(plan, &x, &y);
    bench.group("control: one operation", memory.rows("elementwise/copy", fused, COPY)?)
}

/// With its squares summed where they are computed, and in a pass of their own.
fn sum_of_squares(bench: &mut Bench<'_>, title: &str, (samples, inner): (u32, u32)) -> Result<(), Error> {
    let (stage, gpu) = (bench.stage(), bench.stage().gpu());
    let (left, right) = (Shape::new(samples, inner), Shape::new(WIDTH, inner));
    let output = Shape::new(samples, WIDTH);
    let (a, b) = (stage.input(0, left)?, stage.input(1, right)?);
    let (together, apart) = (stage.output(0, output)?, stage.output(1, output)?);
    let count = linalg::tile_count(gpu, output).max(4 * reduce::partial_count(&apart));
    let partials = gpu.zeros(Shape::vector(count), StorageType::F32)?;
    let operands = ((&a, Transposed::No), (&b, Transposed::Yes));
    let in_two = |plan: &mut PlanBuilder| {
        linalg::matmul(plan, operands.0, operands.1, &apart)?;
        reduce::dot(plan, &apart, &apart, &partials, 0)
    };
    let rows = vec![
        Row::replays(gpu, format!("linalg/matmul_norm {samples} × {WIDTH} × {inner}"), |plan| {
            linalg::matmul_norm(plan, operands.0, operands.1, &together, &partials, 0)
        })?
        .finding(gpu, &together),
        Row::replays(gpu, "linalg/matmul and reduce/dot", in_two)?.finding(gpu, &apart),
    ];
    bench.group(title, rows)
}

fn main() {
    support::main("fused", ask);
}
