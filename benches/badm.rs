//! What BADM gains by being one dispatch.
//!
//! [`Badm`]'s step with 4 sub-batches, and the same step as a program composes it that has a kernel for each of the paper's
//! equations (5), (4b), (6) and (7), local parameters and all. Both take the same gradients from the same start and must arrive
//! at the same parameters. In the control nothing is fused: equation (6) alone, beside a copy of the same bytes.

mod support;

use dualstep::Error;
use dualstep::bench::Size;
use dualstep::engine::{Gpu, Shape, StorageType, Tensor};
use dualstep::kernels::elementwise;
use dualstep::solvers::badm::{Badm, BadmConfig, SubBatches};
use dualstep::solvers::optimizer::Guard;
use support::equations::{Equation, Equations, buffer, values};
use support::{Bench, Row};

const SUB_BATCHES: u32 = 4;
const RHO: f64 = 500.0;
const SIGMA: f64 = 500.0;

/// The paper's equations with [`RHO`], [`SIGMA`], β = 0.99 and equal sub-batches: rows of vec4s, one for each sub-batch but
/// of w.
const EQUATIONS: &str = "
    @group(0) @binding(0) var<storage, read_write> g: array<vec4f>;
    @group(0) @binding(1) var<storage, read_write> pi: array<vec4f>;
    @group(0) @binding(2) var<storage, read_write> m: array<vec4f>;
    @group(0) @binding(3) var<storage, read_write> local: array<vec4f>;
    @group(0) @binding(4) var<storage, read_write> w: array<vec4f>;

    const RHO = 500.0;
    const SIGMA = 500.0;
    const BETA = 0.99;

    @compute @workgroup_size(256)
    fn equation_5(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
        let i = at(id, groups);
        if i < arrayLength(&g) {
            local[i] = w[i % arrayLength(&w)] - (g[i] + pi[i]) / (RHO + SIGMA);
        }
    }

    @compute @workgroup_size(256)
    fn equation_4b(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
        let i = at(id, groups);
        if i < arrayLength(&pi) {
            pi[i] += SIGMA * (local[i] - w[i % arrayLength(&w)]);
        }
    }

    @compute @workgroup_size(256)
    fn equation_6(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
        let i = at(id, groups);
        if i < arrayLength(&m) {
            m[i] = BETA * m[i] + (1.0 - BETA) * pi[i] * pi[i];
        }
    }

    @compute @workgroup_size(256)
    fn equation_7(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
        let i = at(id, groups);
        let quads = arrayLength(&w);
        if i < quads {
            var sum = vec4f();
            for (var k = i; k < arrayLength(&m); k += quads) {
                sum += local[k] + pi[k] / (SIGMA * (sqrt(m[k]) + 1e-12));
            }
            w[i] = sum * (f32(quads) / f32(arrayLength(&m)));
        }
    }
";

/// Memory of one of the two ways.
struct Memory {
    buffers: [wgpu::Buffer; 5],
    parameters: u32,
}

impl Memory {
    fn new(gpu: &Gpu, parameters: u32) -> Self {
        let rows = [SUB_BATCHES, SUB_BATCHES, SUB_BATCHES, SUB_BATCHES, 1];
        let buffers = rows.map(|rows| buffer(gpu, u64::from(rows) * u64::from(parameters)));
        Self { buffers, parameters }
    }

    /// Gradients, duals, second moments, local parameters or parameters as a tensor.
    fn tensor(&self, gpu: &Gpu, which: usize) -> Result<Tensor, Error> {
        let rows = if which == 4 { 1 } else { SUB_BATCHES };
        gpu.wrap(&self.buffers[which], 0, Shape::new(rows, self.parameters), StorageType::F32)
    }

    /// Gradients of about 1, parameters of about 0.05, and the state in which the paper's BADM begins.
    fn start(&self, gpu: &Gpu) -> Result<(), Error> {
        let parameters = u64::from(self.parameters);
        let all = u64::from(SUB_BATCHES) * parameters;
        gpu.write(&self.tensor(gpu, 0)?, &values(all, 2.0))?;
        gpu.write(&self.tensor(gpu, 1)?, &vec![0.0f32; all as usize])?;
        gpu.write(&self.tensor(gpu, 2)?, &vec![1e-8f32; all as usize])?;
        gpu.write(&self.tensor(gpu, 4)?, &values(parameters, 0.1))
    }
}

/// The equations over so many parameters, of which all but the last compute one vec4 of each sub-batch.
fn equations(parameters: u32) -> [Equation; 4] {
    let quads = u64::from(parameters / 4);
    let all = u64::from(SUB_BATCHES) * quads;
    let of_all = |name, operands, moved| Equation { name, operands, quads: all, moved };
    [
        of_all("equation_5", &[0, 1, 3, 4], 3 * all + quads),
        of_all("equation_4b", &[1, 3, 4], 3 * all + quads),
        of_all("equation_6", &[1, 2], 3 * all),
        Equation { name: "equation_7", operands: &[1, 2, 3, 4], quads, moved: 3 * all + quads },
    ]
}

fn ask(bench: &mut Bench<'_>) -> Result<(), Error> {
    let gpu = bench.stage().gpu();
    let parameters = if bench.stage().size() == Size::Tiny { 4096 } else { 1 << 22 };
    let (ours, theirs) = (Memory::new(gpu, parameters), Memory::new(gpu, parameters));
    ours.start(gpu)?;
    theirs.start(gpu)?;

    let config = BadmConfig { guard: Guard::Trust, ..BadmConfig::paper(SUB_BATCHES, 1, RHO, SIGMA) };
    let w = ours.tensor(gpu, 4)?;
    let badm = Badm::new(gpu, &config, &w)?;
    let gradients = ours.tensor(gpu, 0)?;
    let of = |equations: &[Equation]| Equations::new(gpu, EQUATIONS, &theirs.buffers.each_ref(), equations);
    let (all, six) = (of(&equations(parameters)), of(&equations(parameters)[2..3]));
    let rows = vec![
        Row::replays(gpu, "one dispatch", |plan| badm.record(plan, &SubBatches::even(&gradients)))?
            .finding(gpu, &w),
        Row::new("a kernel for each equation", all.counts(), |replays| all.time(replays))
            .finding(gpu, &theirs.tensor(gpu, 4)?),
    ];
    bench.group("a step", rows)?;

    let (from, to) = (theirs.tensor(gpu, 0)?, theirs.tensor(gpu, 3)?);
    let half = 0..SUB_BATCHES / 2;
    let copies = Row::replays(gpu, "copies of as many bytes", |plan| {
        elementwise::copy(plan, &from, &to)?;
        elementwise::copy(plan, &from.row_range(half.clone())?, &to.row_range(half)?)
    })?;
    let rows = vec![copies, Row::new("equation (6)", six.counts(), |replays| six.time(replays))];
    bench.group("control: one equation, with nothing to fuse", rows)
}

fn main() {
    support::main("badm", ask);
}
