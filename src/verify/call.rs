//! One kernel's session and one recorded call in it: operands between canaries, its runs, the verdict.

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

    /// Runs one case, twice, and if its number is a power of two once more with all operands in one buffer. (That takes a
    /// pipeline of its own for each variant, and compiling those takes longer than all cases do.) `record` makes the operands
    /// and calls the kernel; it must do the same each time. Nothing runs after a failure.
    pub fn check<'e>(
        &mut self,
        case: &str,
        record: impl Fn(&mut Call<'e>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if self.row.failure.is_some() {
            return Ok(());
        }
        self.row.cases += 1;
        let (call, words) = Call::run(self.gpu, Room::Apart, &record)?;
        match call.judge(&words) {
            Ok(worst) => self.row.worst = self.row.worst.max(worst),
            Err(complaint) => self.fail(format!("{case}: {complaint}")),
        }
        let (_, again) = Call::run(self.gpu, Room::Apart, &record)?;
        if let Some(name) = call.differing(&words, &again) {
            self.fail(format!("{case}: a second run left other bits in `{name}`"));
        }
        if self.row.cases.is_power_of_two() {
            let (_, together) = Call::run(self.gpu, Room::together(self.gpu, &call.frames), &record)?;
            if let Some(name) = call.differing(&words, &together) {
                self.fail(format!("{case}: with all operands in one buffer `{name}` has other bits"));
            }
        }
        Ok(())
    }
}

/// Where operands lie.
enum Room {
    /// Each in a buffer of its own.
    Apart,
    /// All in this buffer, the next from this byte on.
    Together(wgpu::Buffer, u64),
}

impl Room {
    /// One buffer for operands such as these, with their canaries.
    fn together(gpu: &Gpu, frames: &[Frame<'_>]) -> Self {
        let bytes = frames.iter().map(|frame| Self::granules(gpu, frame.all.bytes())).sum();
        Self::Together(buffer(gpu, "verify", bytes), 0)
    }

    /// A buffer, and an offset in it from which on so many bytes are free.
    fn take(&mut self, gpu: &Gpu, name: &'static str, bytes: u64) -> (wgpu::Buffer, u64) {
        match self {
            Self::Apart => (buffer(gpu, name, bytes), 0),
            Self::Together(buffer, next) => {
                let offset = *next;
                *next += Self::granules(gpu, bytes);
                (buffer.clone(), offset)
            }
        }
    }

    /// So many bytes and more, up to where the device can bind what follows.
    fn granules(gpu: &Gpu, bytes: u64) -> u64 {
        bytes.next_multiple_of(gpu.device().limits().min_storage_buffer_offset_alignment.into())
    }
}

fn buffer(gpu: &Gpu, name: &str, size: u64) -> wgpu::Buffer {
    gpu.device().create_buffer(&wgpu::BufferDescriptor {
        label: Some(name),
        size,
        usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    })
}

/// One recorded call.
pub(super) struct Call<'e> {
    gpu: Gpu,
    room: Room,
    /// Where the kernel's function records.
    pub plan: PlanBuilder,
    frames: Vec<Frame<'e>>,
}

/// An operand and the canaries around it.
struct Frame<'e> {
    name: &'static str,
    /// As 4-byte elements.
    shape: Shape,
    /// The operand and its canaries.
    all: Tensor,
    /// Word of them at which the operand begins.
    start: usize,
    /// The words before the call.
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
        let (buffer, offset) = self.room.take(&self.gpu, name, head + bytes + TAIL);
        let start = head as usize / 4;
        let mut before = vec![canary(self.frames.len()); (head + bytes + TAIL) as usize / 4];
        before[start..start + stored.len()].copy_from_slice(stored);
        let all = self.gpu.wrap(&buffer, offset, Shape::vector(before.len() as u32), StorageType::U32)?;
        self.gpu.write_words(&all, 0, &before)?;
        let tensor = self.gpu.wrap_with_tail(&buffer, offset + head, shape, storage, TAIL)?;
        self.frames.push(Frame { name, shape: judged, all, start, before, expected });
        Ok(tensor)
    }

    /// Records, runs, and reads every operand back, canaries included.
    fn run(
        gpu: &Gpu,
        room: Room,
        record: &impl Fn(&mut Self) -> Result<(), Error>,
    ) -> Result<(Self, Vec<Vec<u32>>), Error> {
        let (frames, plan) = (Vec::new(), PlanBuilder::new(gpu, "verify"));
        let mut call = Self { gpu: gpu.clone(), room, plan, frames };
        record(&mut call)?;
        let plan = std::mem::replace(&mut call.plan, PlanBuilder::new(gpu, "verify"));
        plan.finish()?.run()?;
        let words = call.frames.iter().map(|frame| gpu.read_u32(&frame.all)).collect::<Result<_, _>>()?;
        Ok((call, words))
    }

    /// The first operand in which two runs left other bits.
    fn differing(&self, one: &[Vec<u32>], other: &[Vec<u32>]) -> Option<&'static str> {
        let mut frames = self.frames.iter().zip(one.iter().zip(other));
        frames.find(|(_, (one, other))| one != other).map(|(frame, _)| frame.name)
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
