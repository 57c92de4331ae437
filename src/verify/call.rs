//! One kernel's session and one recorded call in it: operands between canaries, two runs, the verdict.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::expected::{Expected, Outcome};
use super::values::Profile;
use super::{Effort, Row};
use crate::Error;
use crate::engine::{Gpu, PlanBuilder, Shape, StorageType, Tensor};
use crate::reference::Matrix;

/// Bytes of canary after each operand, all of them within its binding.
const TAIL: u64 = 256;

/// A NaN of its own for each operand, so that a stray copy of one canary onto another is seen.
fn canary(operand: usize) -> u32 {
    0x7fff_7f00 + operand as u32
}

/// The cases of one kernel as they run.
pub(super) struct Session<'a> {
    gpu: &'a Gpu,
    effort: Effort,
    rng: ChaCha8Rng,
    row: Row,
}

impl<'a> Session<'a> {
    /// Nothing run yet. The values drawn depend on the kernel's name alone.
    pub fn new(gpu: &'a Gpu, effort: Effort, kernel: &'static str) -> Self {
        let seed = kernel.bytes().fold(1u64, |seed, byte| seed.wrapping_mul(31) + u64::from(byte));
        let row = Row { kernel, cases: 0, worst: 0.0, failure: None };
        Self { gpu, effort, rng: ChaCha8Rng::seed_from_u64(seed), row }
    }

    pub fn gpu(&self) -> &'a Gpu {
        self.gpu
    }

    pub fn effort(&self) -> Effort {
        self.effort
    }

    pub fn is_full(&self) -> bool {
        self.effort == Effort::Full
    }

    pub fn rng(&mut self) -> &mut ChaCha8Rng {
        &mut self.rng
    }

    /// A random matrix.
    pub fn matrix(&mut self, shape: Shape, profile: Profile) -> Matrix {
        profile.matrix(&mut self.rng, shape)
    }

    /// Notes what is wrong, unless something was before.
    pub fn fail(&mut self, what: String) {
        self.row.failure.get_or_insert(what);
    }

    pub fn into_row(self) -> Row {
        self.row
    }

    /// Runs one case, twice. `record` makes the operands and calls the kernel; it must do the same each time. Nothing
    /// runs after a failure.
    pub fn check<'e>(
        &mut self,
        case: &str,
        record: impl Fn(&mut Call<'e>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if self.row.failure.is_some() {
            return Ok(());
        }
        self.row.cases += 1;
        let (call, words) = Call::run(self.gpu, &record)?;
        match call.judge(&words) {
            Ok(worst) => self.row.worst = self.row.worst.max(worst),
            Err(complaint) => self.fail(format!("{case}: {complaint}")),
        }
        let (_, again) = Call::run(self.gpu, &record)?;
        if let Some((frame, _)) = call.frames.iter().zip(words.iter().zip(&again)).find(|(_, (a, b))| a != b)
        {
            self.fail(format!("{case}: a second run left other bits in `{}`", frame.name));
        }
        Ok(())
    }
}

/// One recorded call.
pub(super) struct Call<'e> {
    gpu: Gpu,
    /// Where the kernel's function records.
    pub plan: PlanBuilder,
    frames: Vec<Frame<'e>>,
}

/// An operand and the canaries around it.
struct Frame<'e> {
    name: &'static str,
    /// As 4-byte elements.
    shape: Shape,
    /// The whole buffer.
    all: Tensor,
    /// Word of the buffer at which the operand begins.
    start: usize,
    /// The buffer's words before the call.
    before: Vec<u32>,
    expected: Expected<'e>,
}

impl<'e> Call<'e> {
    /// An operand that is only read.
    pub fn input(&mut self, name: &'static str, values: &Matrix) -> Result<Tensor, Error> {
        self.update(name, values, Expected::Unchanged)
    }

    /// Labels: one u32 per sample, only read.
    pub fn labels(&mut self, labels: &[u32]) -> Result<Tensor, Error> {
        self.words("labels", labels, Expected::Unchanged)
    }

    /// An operand of u32.
    pub fn words(
        &mut self,
        name: &'static str,
        words: &[u32],
        expected: Expected<'e>,
    ) -> Result<Tensor, Error> {
        let shape = Shape::vector(words.len() as u32);
        let mut stored = words.to_vec();
        stored.resize(shape.stored() as usize, 0);
        self.frame(name, shape, (shape, StorageType::U32), &stored, expected)
    }

    /// An operand by the words it is stored as, rows padded to whole `vec4`s; of bf16 or f16 two elements to a word. What
    /// is expected of it is expected of its words.
    pub fn stored(
        &mut self,
        name: &'static str,
        stored: (Shape, StorageType),
        words: &[u32],
        expected: Expected<'e>,
    ) -> Result<Tensor, Error> {
        let judged = Shape::vector(words.len() as u32);
        let mut words = words.to_vec();
        words.resize(judged.stored() as usize, 0);
        self.frame(name, judged, stored, &words, expected)
    }

    /// An operand that is written before it is read, if at all: it starts as NaN.
    pub fn output(
        &mut self,
        name: &'static str,
        shape: Shape,
        expected: Expected<'e>,
    ) -> Result<Tensor, Error> {
        let canary = canary(self.frames.len());
        let stored = vec![canary; shape.stored() as usize];
        self.frame(name, shape, (shape, StorageType::F32), &stored, expected)
    }

    /// An operand that is read and written.
    pub fn update(
        &mut self,
        name: &'static str,
        values: &Matrix,
        expected: Expected<'e>,
    ) -> Result<Tensor, Error> {
        let shape = Shape::new(values.rows() as u32, values.cols() as u32);
        let mut stored = vec![0; shape.stored() as usize];
        for (row, words) in stored.chunks_exact_mut(shape.stride().max(1) as usize).enumerate() {
            for (word, value) in words.iter_mut().zip(values.row(row)) {
                *word = (*value as f32).to_bits();
            }
        }
        self.frame(name, shape, (shape, StorageType::F32), &stored, expected)
    }

    /// An operand that holds the words `stored`, and is judged as 4-byte elements in the shape `judged`.
    fn frame(
        &mut self,
        name: &'static str,
        judged: Shape,
        (shape, storage): (Shape, StorageType),
        stored: &[u32],
        expected: Expected<'e>,
    ) -> Result<Tensor, Error> {
        let head = u64::from(self.gpu.device().limits().min_storage_buffer_offset_alignment);
        let bytes = (shape.stored() * storage.bytes()).max(16).next_multiple_of(16);
        let buffer = self.gpu.device().create_buffer(&wgpu::BufferDescriptor {
            label: Some(name),
            size: head + bytes + TAIL,
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let start = head as usize / 4;
        let mut before = vec![canary(self.frames.len()); (head + bytes + TAIL) as usize / 4];
        before[start..start + stored.len()].copy_from_slice(stored);
        let all = self.gpu.wrap(&buffer, 0, Shape::vector(before.len() as u32), StorageType::U32)?;
        self.gpu.write_words(&all, 0, &before)?;
        let tensor = self.gpu.wrap_with_tail(&buffer, head, shape, storage, TAIL)?;
        self.frames.push(Frame { name, shape: judged, all, start, before, expected });
        Ok(tensor)
    }

    /// Records, runs, and reads every operand back, canaries included.
    fn run(
        gpu: &Gpu,
        record: &impl Fn(&mut Self) -> Result<(), Error>,
    ) -> Result<(Self, Vec<Vec<u32>>), Error> {
        let mut call = Self { gpu: gpu.clone(), plan: PlanBuilder::new(gpu, "verify"), frames: Vec::new() };
        record(&mut call)?;
        let plan = std::mem::replace(&mut call.plan, PlanBuilder::new(gpu, "verify"));
        plan.finish()?.run()?;
        let words = call.frames.iter().map(|frame| gpu.read_u32(&frame.all)).collect::<Result<_, _>>()?;
        Ok((call, words))
    }

    fn judge(&self, words: &[Vec<u32>]) -> Result<f64, String> {
        let mut worst = 0.0f64;
        for (operand, (frame, after)) in self.frames.iter().zip(words).enumerate() {
            worst = worst.max(frame.judge(canary(operand), after)?);
            if let Expected::SameAs(other) = frame.expected {
                self.expect_same(frame, after, other, words)?;
            }
        }
        Ok(worst)
    }

    fn expect_same(
        &self,
        frame: &Frame<'_>,
        after: &[u32],
        other: &str,
        words: &[Vec<u32>],
    ) -> Result<(), String> {
        let twin = self.frames.iter().position(|frame| frame.name == other);
        let twin = &words[twin.ok_or_else(|| format!("no operand is called `{other}`"))?];
        let mut inside = frame.start..frame.start + frame.shape.stored() as usize;
        match inside.find(|index| after[*index] != twin[*index]) {
            None => Ok(()),
            Some(index) => {
                let word = index as i64 - frame.start as i64;
                let (a, b) = (f32::from_bits(after[index]), f32::from_bits(twin[index]));
                Err(format!("word {word} of `{}` is {a:e} but that of `{other}` is {b:e}", frame.name))
            }
        }
    }
}

impl Frame<'_> {
    fn judge(&self, canary: u32, after: &[u32]) -> Result<f64, String> {
        let end = self.start + self.shape.stored() as usize;
        let canaries = (0..self.start).chain(end..after.len());
        if let Some(index) = canaries.into_iter().find(|index| after[*index] != canary) {
            let word = index as i64 - self.start as i64;
            let words = end - self.start;
            return Err(format!("word {word} of `{}`, which has {words}, was written", self.name));
        }
        let range = self.start..end;
        let (columns, stride) = (self.shape.columns as usize, self.shape.stride() as usize);
        let (before, after) = (&self.before[range.clone()], &after[range]);
        Outcome { name: self.name, columns, stride, before, after }.judge(&self.expected)
    }
}
