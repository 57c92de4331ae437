//! Trainings by dlADMM, from settings to accuracy and checkpoint.

use std::ffi::{c_char, c_int, c_void};
use std::path::Path;
use std::ptr;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use dualstep::checkpoint::{self, Checkpoint};
use dualstep::data::Dataset;
use dualstep::engine::Gpu;
use dualstep::solvers::dladmm::{Config, DlAdmm, Problem, Record, Scores, evaluate};
use dualstep::solvers::problem::HostSamples;

use crate::data::{dualstep_data, dualstep_half};
use crate::error::dualstep_status::*;
use crate::error::{Fault, dualstep_status, guarded, with_pointers};
use crate::gpu::dualstep_gpu;
use crate::handle::{self, Object, exclusive};
use crate::pointer::{Code, Pointers, Versioned, end};
use crate::settings::dualstep_training_settings;

/// Iterations under way: while the device works on one, the next are waiting in its queue.
const UNDER_WAY: u32 = 3;
/// Between two looks at a device that has nothing new.
const NAP: Duration = Duration::from_millis(1);

/// What an iteration reports. The library makes it; what it points to lasts as long as the callback.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct dualstep_record {
    /// The bytes that this library's version of the structure has.
    pub size: usize,
    /// Counted from 1.
    pub iteration: u32,
    /// Pivots that factorisations dropped since the run began, because a Gram matrix was singular there.
    pub dropped_pivots: u32,
    /// Augmented Lagrangian after the iteration.
    pub objective: f32,
    /// The loss, summed over the training samples.
    pub loss: f32,
    /// Penalty of the last layer's constraint during the iteration.
    pub rho: f32,
    /// Penalty of the relaxed constraints during the iteration.
    pub nu: f32,
    /// Share of training samples that the network gets right; NaN where it was not taken.
    pub train_accuracy: f32,
    /// Mean cross-entropy on them; NaN where it was not taken.
    pub train_cost: f32,
    /// Share of test samples that the network gets right; NaN where it was not taken.
    pub test_accuracy: f32,
    /// Mean cross-entropy on them; NaN where it was not taken.
    pub test_cost: f32,
    /// Candidates of the accelerator's that were judged so far; 0 without one.
    pub accelerator_tries: u32,
    /// Those of them that were kept.
    pub accelerator_accepts: u32,
    /// The squared residual of each layer's constraint.
    pub residuals: *const f32,
    /// Layers.
    pub residual_count: usize,
    /// The squared distance from each hidden layer's activations to the activation of its z.
    pub gaps: *const f32,
    /// Hidden layers.
    pub gap_count: usize,
    /// Doublings of each quadratic step, in the order of the sweep.
    pub exponents: *const u32,
    /// Quadratic steps of an iteration; 0 with other steps.
    pub exponent_count: usize,
}

impl From<&Record> for dualstep_record {
    fn from(record: &Record) -> Self {
        let scores = |scores: Option<Scores>| {
            scores.map_or((f32::NAN, f32::NAN), |it| (it.accuracy.unwrap_or(f32::NAN), it.cost))
        };
        let ((train_accuracy, train_cost), (test_accuracy, test_cost)) =
            (scores(record.train), scores(record.test));
        Self {
            size: size_of::<Self>(),
            iteration: record.iteration,
            dropped_pivots: record.dropped_pivots,
            objective: record.objective,
            loss: record.loss,
            rho: record.rho,
            nu: record.nu,
            train_accuracy,
            train_cost,
            test_accuracy,
            test_cost,
            accelerator_tries: record.acceleration.map_or(0, |it| it.tries),
            accelerator_accepts: record.acceleration.map_or(0, |it| it.accepts),
            residuals: record.residuals.as_ptr(),
            residual_count: record.residuals.len(),
            gaps: record.gaps.as_ptr(),
            gap_count: record.gaps.len(),
            exponents: record.exponents.as_ptr(),
            exponent_count: record.exponents.len(),
        }
    }
}

/// Called with each iteration's record, on the thread that called dualstep_training_run. It returns 0 to go on, and anything
/// else to end the run. It must return: no longjmp, no C++ exception. The training that it is called for is busy meanwhile.
pub type dualstep_on_record =
    Option<unsafe extern "C" fn(record: *const dualstep_record, user: *mut c_void) -> c_int>;

/// How a network does on some samples.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct dualstep_scores {
    /// sizeof(dualstep_scores).
    pub size: usize,
    /// Share of samples that it gets right.
    pub accuracy: f32,
    /// Mean cross-entropy.
    pub cost: f32,
}

// SAFETY: `repr(C)`, `size` is first, and any bytes are numbers.
unsafe impl Versioned for dualstep_scores {
    const NAME: &'static str = "dualstep_scores";
    const LEAST: usize = end!(cost: f32);
    const END: usize = end!(cost: f32);

    fn standard() -> Self {
        Self { size: size_of::<Self>(), accuracy: f32::NAN, cost: f32::NAN }
    }
}

/// A network in training by dlADMM. One call at a time may use it.
#[derive(Debug)]
pub struct dualstep_training {
    gpu: Gpu,
    data: Arc<dualstep_data>,
    /// Samples of the training half that are learnt from: the first.
    samples: usize,
    network: Mutex<DlAdmm>,
}

impl Object for dualstep_training {
    const KIND: &'static str = "dualstep_training";
}

impl dualstep_training {
    /// With the network that `make` makes for the problem.
    fn new(
        gpu: &Gpu,
        data: Arc<dualstep_data>,
        samples: usize,
        make: impl FnOnce(&Problem<'_>) -> Result<DlAdmm, dualstep::Error>,
    ) -> Result<Self, Fault> {
        let shortened =
            if samples == data.train.len() { None } else { Some(data.train.clone().first(samples)?) };
        let train = HostSamples::new(shortened.as_ref().unwrap_or(&data.train))?;
        let test = data.test.as_ref().map(HostSamples::new).transpose()?;
        let outputs = data.train.classes() as u32;
        let problem = Problem { outputs, train: train.view(), test: test.as_ref().map(HostSamples::view) };
        let network = Mutex::new(make(&problem)?);
        drop((train, test));
        Ok(Self { gpu: gpu.clone(), data, samples, network })
    }

    /// Runs so many iterations and hands their records out, until one of them asks for an end.
    fn run(&self, iterations: u32, mut on_record: impl FnMut(&Record) -> bool) -> Result<(), Fault> {
        let mut network = exclusive(Self::KIND, &self.network)?;
        let (mut left, mut is_stopped) = (iterations, false);
        loop {
            let has_room = left > 0 && !is_stopped && network.in_flight() < UNDER_WAY;
            if has_room {
                network.run(1)?;
                left -= 1;
            } else if network.in_flight() == 0 {
                break;
            }
            let records = network.poll()?;
            if records.is_empty() && !has_room {
                thread::sleep(NAP);
            }
            for record in &records {
                is_stopped |= on_record(record);
            }
        }
        match is_stopped {
            true => Err(Fault::new(DUALSTEP_STOPPED, "the callback asked for an end")),
            false => Ok(()),
        }
    }

    fn scores(&self, half: Code<dualstep_half>) -> Result<dualstep_scores, Fault> {
        let set = self.data.half(half)?;
        let first: Dataset;
        let set = match half.get("half")? {
            dualstep_half::DUALSTEP_TRAIN if self.samples < set.len() => {
                first = set.clone().first(self.samples)?;
                &first
            }
            _ => set,
        };
        let mut network = exclusive(Self::KIND, &self.network)?;
        let layers = network.layers()?;
        let samples = HostSamples::new(set)?;
        let scores = evaluate(&self.gpu, network.config(), &layers, network.widths(), &samples.view())?;
        let accuracy = scores.accuracy.unwrap_or(f32::NAN);
        Ok(dualstep_scores { accuracy, cost: scores.cost, ..dualstep_scores::standard() })
    }

    fn checkpoint(&self, weights_only: bool) -> Result<Checkpoint, Fault> {
        let mut network = exclusive(Self::KIND, &self.network)?;
        let state = network.state()?;
        Ok(Checkpoint {
            config: network.config().clone(),
            widths: network.widths().to_vec(),
            samples: self.samples as u32,
            data: self.data.source.clone(),
            state: if weights_only { state.weights_alone() } else { state },
            training: None,
        })
    }
}

/// Sets settings to what `dualstep train` does by default. Set `size` first.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dualstep_training_settings_default(
    settings: *mut dualstep_training_settings,
) -> dualstep_status {
    // SAFETY: C's promises.
    unsafe { with_pointers(|pointers| pointers.fill(settings, &Versioned::standard())) }
}

/// Puts samples and initial weights on a device, ready for the first iteration. With NULL for settings it is as
/// `dualstep train` is by default.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dualstep_training_new(
    gpu: *const dualstep_gpu,
    settings: *const dualstep_training_settings,
    data: *const dualstep_data,
    training: *mut *mut dualstep_training,
) -> dualstep_status {
    let body = |pointers: &Pointers| {
        let place = pointers.result("training", training, ptr::null_mut())?;
        let (gpu, data) = (handle::get(gpu)?, handle::get(data)?);
        let settings = pointers.settings(settings)?;
        let config: Config = settings.config(pointers)?;
        let samples = if settings.samples == 0 { data.train.len() } else { settings.samples };
        let make = |problem: &Problem<'_>| DlAdmm::new(&gpu.gpu, &config, problem);
        place.put(handle::give(dualstep_training::new(&gpu.gpu, data, samples, make)?));
        Ok(())
    };
    // SAFETY: C's promises.
    unsafe { with_pointers(body) }
}

/// Goes on from a checkpoint, one of `dualstep train --checkpoint` or of dualstep_training_save, with its settings: bit for
/// bit, or, where it holds weights alone, from those. With NULL for `data` it loads the data that the checkpoint names.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dualstep_training_load(
    gpu: *const dualstep_gpu,
    path: *const c_char,
    data: *const dualstep_data,
    training: *mut *mut dualstep_training,
) -> dualstep_status {
    let body = |pointers: &Pointers| {
        let place = pointers.result("training", training, ptr::null_mut())?;
        let gpu = handle::get(gpu)?;
        let loaded = checkpoint::load(Path::new(pointers.text("path", path)?))?;
        let data = match data.is_null() {
            true => Arc::new(dualstep_data::load(&loaded.data)?),
            false => handle::get(data)?,
        };
        let Checkpoint { config, state, samples, .. } = loaded;
        let make = |problem: &Problem<'_>| DlAdmm::resume(&gpu.gpu, &config, problem, &state);
        place.put(handle::give(dualstep_training::new(&gpu.gpu, data, samples as usize, make)?));
        Ok(())
    };
    // SAFETY: C's promises.
    unsafe { with_pointers(body) }
}

/// Runs so many iterations more, and returns when they are done. `on_record`, unless it is NULL, is called with each one's
/// record, in order, and with `user`; the device goes on meanwhile. When it returns anything but 0, the one or two iterations
/// that are under way are finished and reported, and the run fails with DUALSTEP_STOPPED; it can go on.
///
/// After DUALSTEP_ERROR_NOT_FINITE the training is as it was before the iteration that failed, as far as
/// `keep_last_finite` was set: it can be scored and saved, but not go on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dualstep_training_run(
    training: *const dualstep_training,
    iterations: u32,
    on_record: dualstep_on_record,
    user: *mut c_void,
) -> dualstep_status {
    let body = |pointers: &Pointers| {
        let training = handle::get(training)?;
        training.run(iterations, |record| {
            on_record.is_some_and(|callback| pointers.call(callback, &record.into(), user) != 0)
        })
    };
    // SAFETY: C's promises.
    unsafe { with_pointers(body) }
}

/// Tells how the network does on a half of its data, of the training half on what it learns from. Set `size` first. Waits for
/// the device.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dualstep_training_scores(
    training: *const dualstep_training,
    half: Code<dualstep_half>,
    scores: *mut dualstep_scores,
) -> dualstep_status {
    // SAFETY: C's promises.
    unsafe { with_pointers(|pointers| pointers.fill(scores, &handle::get(training)?.scores(half)?)) }
}

/// Tells how many layers of weights the network has.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dualstep_training_layers(
    training: *const dualstep_training,
    layers: *mut usize,
) -> dualstep_status {
    let body = |pointers: &Pointers| {
        let place = pointers.result("layers", layers, 0)?;
        let training = handle::get(training)?;
        let network = exclusive(dualstep_training::KIND, &training.network)?;
        place.put(network.widths().len() - 1);
        Ok(())
    };
    // SAFETY: C's promises.
    unsafe { with_pointers(body) }
}

/// Copies the weights, rows * columns numbers row after row, and the biases, as many as rows, of a layer counted from 0.
/// `shape` becomes that of the weights: outputs by inputs. Each of the three may be NULL. Waits for the device.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dualstep_training_weights(
    training: *const dualstep_training,
    layer: usize,
    shape: *mut crate::tensor::dualstep_shape,
    weights: *mut f32,
    biases: *mut f32,
) -> dualstep_status {
    let body = |pointers: &Pointers| {
        let training = handle::get(training)?;
        let mut network = exclusive(dualstep_training::KIND, &training.network)?;
        let count = network.widths().len() - 1;
        if layer >= count {
            return Err(Fault::argument(format!("layer = {layer}, but there are {count}, counted from 0")));
        }
        let (columns, rows) = (network.widths()[layer], network.widths()[layer + 1]);
        if !shape.is_null() {
            let known = crate::tensor::dualstep_shape { rows, columns };
            pointers.result("shape", shape, known)?;
        }
        if weights.is_null() && biases.is_null() {
            return Ok(());
        }
        let layer = network.layers()?.swap_remove(layer);
        if !weights.is_null() {
            pointers.room("weights", weights, layer.weights.len())?.put(&layer.weights);
        }
        if !biases.is_null() {
            pointers.room("biases", biases, layer.bias.len())?.put(&layer.bias);
        }
        Ok(())
    };
    // SAFETY: C's promises.
    unsafe { with_pointers(body) }
}

/// Writes a checkpoint, whole or not at all: a safetensors file that `dualstep eval` and `dualstep train --resume` read, and
/// dualstep_training_load. With `weights_only` not 0 it holds weights and biases alone. Waits for the device.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dualstep_training_save(
    training: *const dualstep_training,
    path: *const c_char,
    weights_only: u32,
) -> dualstep_status {
    let body = |pointers: &Pointers| {
        let path = pointers.text("path", path)?;
        let checkpoint = handle::get(training)?.checkpoint(weights_only != 0)?;
        Ok(checkpoint::save(Path::new(path), &checkpoint)?)
    };
    // SAFETY: C's promises.
    unsafe { with_pointers(body) }
}

/// Frees a training; NULL is allowed. A run of its that is under way on another thread goes on to its end.
#[unsafe(no_mangle)]
pub extern "C" fn dualstep_training_free(training: *mut dualstep_training) -> dualstep_status {
    guarded(|| handle::free(training))
}
