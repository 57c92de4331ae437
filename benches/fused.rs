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

/// Operands of the operations, five matrices and a row, and a place for what the fused kernel finds.
struct Memory {
    matrices: [wgpu::Buffer; 6],
    row: wgpu::Buffer,
    shape: Shape,
}

impl Memory {
    /// Of zeros.
    fn new(gpu: &Gpu, shape: Shape) -> Self {
        let matrices = [(); 6].map(|()| buffer(gpu, shape.elements()));
        Self { matrices, row: buffer(gpu, WIDTH.into()), shape }
    }

    /// One of the matrices, the last being the fused kernel's.
    fn matrix(&self, gpu: &Gpu, which: usize) -> Result<Tensor, Error> {
        gpu.wrap(&self.matrices[which], 0, self.shape, StorageType::F32)
    }

    /// A matrix as the one row that an optimizer takes.
    fn flat(&self, gpu: &Gpu, which: usize) -> Result<Tensor, Error> {
        gpu.wrap(&self.matrices[which], 0, Shape::vector(self.shape.elements() as u32), StorageType::F32)
    }

    /// These operations, each with the buffers that it touches.
    fn operations(&self, gpu: &Gpu, operations: &[(&'static str, &'static [u32])]) -> Equations {
        let quads = self.shape.elements() / 4;
        let operations: Vec<_> = operations
            .iter()
            .map(|(name, operands)| {
                let matrices = operands.iter().filter(|binding| **binding < 5).count() as u64;
                // What is updated is read and written; a row is nothing beside matrices.
                let updated =
                    u64::from(["first_moment", "second_moment", "descend", "better"].contains(name));
                Equation { name, operands, quads, moved: (matrices + updated) * quads }
            })
            .collect();
        let [a, b, c, d, e, _] = &self.matrices;
        Equations::new(gpu, OPERATIONS, &[a, b, c, d, e, &self.row], &operations)
    }
}

fn ask(bench: &mut Bench<'_>) -> Result<(), Error> {
    let shape = bench.stage().matrix(2, WIDTH);
    elementwise_passes(bench, shape)?;
    let (samples, inner) = if bench.stage().size() == Size::Tiny { (64, 64) } else { (4096, 2048) };
    sum_of_squares(bench, "a short product and its sum of squares", (samples, 16))?;
    sum_of_squares(bench, "control: a long product and its sum of squares", (samples / 4, inner))
}

fn elementwise_passes(bench: &mut Bench<'_>, shape: Shape) -> Result<(), Error> {
    let gpu = bench.stage().gpu();
    let memory = Memory::new(gpu, shape);
    let [a, b] = [0, 1].map(|which| memory.matrix(gpu, which));
    let (a, b, found) = (a?, b?, memory.matrix(gpu, 5)?);
    gpu.write(&a, &values(shape.elements(), 1.0))?;
    gpu.write(&b, &values(shape.elements(), -0.7))?;
    let row = gpu.wrap(&memory.row, 0, Shape::vector(WIDTH), StorageType::F32)?;
    gpu.write(&row, &values(WIDTH.into(), 0.3))?;
    let apart = |operations: Equations, found: &Tensor| {
        let counts = operations.counts();
        let name = format!("{} kernels", counts.dispatches);
        Row::new(name, counts, move |replays| operations.time(replays)).finding(gpu, found)
    };

    let z = memory.operations(
        gpu,
        &[("add_bias", &[0, 2, 5]), ("below", &[2, 3]), ("above", &[1, 2, 4]), ("better", &[1, 2, 3, 4])],
    );
    let rows = vec![
        Row::replays(gpu, format!("dladmm/hidden_z {shape}"), |plan| {
            dladmm::hidden_z(plan, &a, &row, &b, &found, Activation::Relu)
        })?
        .finding(gpu, &found),
        apart(z, &memory.matrix(gpu, 3)?),
    ];
    bench.group("the z step of a hidden layer", rows)?;

    let rows = vec![
        Row::replays(gpu, format!("elementwise/copy {shape}"), |plan| elementwise::copy(plan, &a, &found))?
            .finding(gpu, &found),
        apart(memory.operations(gpu, &[("copied", &[0, 3])]), &memory.matrix(gpu, 3)?),
    ];
    bench.group("control: one operation", rows)?;

    let fresh = Memory::new(gpu, shape);
    gpu.write(&fresh.matrix(gpu, 0)?, &values(shape.elements(), 1.0))?;
    let config = FirstOrderConfig { guard: Guard::Trust, ..FirstOrderConfig::pytorch(Method::Adam) };
    let (gradient, w) = (fresh.flat(gpu, 0)?, fresh.flat(gpu, 5)?);
    let adam = FirstOrder::new(gpu, &config, &w)?;
    let steps = fresh.operations(
        gpu,
        &[
            ("first_moment", &[0, 1]),
            ("second_moment", &[0, 2]),
            ("direction", &[1, 2, 4]),
            ("descend", &[3, 4]),
        ],
    );
    let rows = vec![
        Row::replays(gpu, format!("first_order/step {}", w.shape()), |plan| adam.record(plan, &gradient))?
            .finding(gpu, &w),
        apart(steps, &fresh.flat(gpu, 3)?),
    ];
    bench.group("a step of Adam", rows)
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
