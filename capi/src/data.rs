//! Data sets.

use std::ffi::c_char;
use std::ptr;

use dualstep::data::{DataSource, Dataset, Split, Values};

use crate::error::{Fault, dualstep_status, guarded, with_pointers};
use crate::handle::{self, Object};
use crate::pointer::{Code, Pointers, Versioned, codes, end};

/// A half of a data set.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum dualstep_half {
    /// The samples to learn from.
    DUALSTEP_TRAIN = 0,
    /// The samples never learnt from.
    DUALSTEP_TEST = 1,
}

codes!(dualstep_half: DUALSTEP_TRAIN, DUALSTEP_TEST);

/// Samples of a program's own. This structure will never grow.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct dualstep_samples {
    /// How many.
    pub count: usize,
    /// Sample after sample, all features of each: count * features finite values.
    pub values: *const f32,
    /// The class of each: count numbers from 0, below the number of classes.
    pub labels: *const u32,
}

/// The sizes of a data set.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct dualstep_data_sizes {
    /// sizeof(dualstep_data_sizes).
    pub size: usize,
    /// Values of each sample.
    pub features: u32,
    /// Classes.
    pub classes: u32,
    /// Samples to learn from.
    pub train: u32,
    /// Samples never learnt from; 0 if there are none.
    pub test: u32,
}

// SAFETY: `repr(C)`, `size` is first, and any bytes are numbers.
unsafe impl Versioned for dualstep_data_sizes {
    const NAME: &'static str = "dualstep_data_sizes";
    const LEAST: usize = end!(test: u32);
    const END: usize = end!(test: u32);

    fn standard() -> Self {
        Self { size: size_of::<Self>(), ..Self::default() }
    }
}

/// Samples to learn from and to be judged by. Any number of threads may use it at once.
#[derive(Debug)]
pub struct dualstep_data {
    /// As checkpoints record it.
    pub(crate) source: String,
    pub(crate) train: Dataset,
    pub(crate) test: Option<Dataset>,
}

impl Object for dualstep_data {
    const KIND: &'static str = "dualstep_data";
}

impl dualstep_data {
    /// From where the command line finds it by the same name.
    pub(crate) fn load(source: &str) -> Result<Self, Fault> {
        let Ok(source) = source.parse::<DataSource>();
        let source = source.absolute()?;
        let Split { train, test } = source.load()?;
        Ok(Self { source: source.to_string(), train, test: Some(test) })
    }

    pub(crate) fn half(&self, half: Code<dualstep_half>) -> Result<&Dataset, Fault> {
        match (half.get("half")?, &self.test) {
            (dualstep_half::DUALSTEP_TRAIN, _) => Ok(&self.train),
            (dualstep_half::DUALSTEP_TEST, Some(test)) => Ok(test),
            (dualstep_half::DUALSTEP_TEST, None) => {
                Err(Fault::argument("half = DUALSTEP_TEST, but the data set has no test samples"))
            }
        }
    }

    fn sizes(&self) -> dualstep_data_sizes {
        dualstep_data_sizes {
            features: self.train.features() as u32,
            classes: self.train.classes() as u32,
            train: self.train.len() as u32,
            test: self.test.as_ref().map_or(0, |test| test.len() as u32),
            ..dualstep_data_sizes::standard()
        }
    }
}

/// Loads a data set by the name that the command line knows it by: "embedded" (10,000 images of Fashion-MNIST that are part of
/// the library), "fashion-mnist", "mnist", "cora", a folder of IDX files, or a graph in FILE.safetensors.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dualstep_data_load(
    source: *const c_char,
    data: *mut *mut dualstep_data,
) -> dualstep_status {
    let body = |pointers: &Pointers| {
        let place = pointers.result("data", data, ptr::null_mut())?;
        place.put(handle::give(dualstep_data::load(pointers.text("source", source)?)?));
        Ok(())
    };
    // SAFETY: C's promises.
    unsafe { with_pointers(body) }
}

/// Makes a data set of a program's own samples, which are copied. `name` stands for it in messages and checkpoints; `test`
/// may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dualstep_data_new(
    name: *const c_char,
    features: u32,
    classes: u32,
    train: *const dualstep_samples,
    test: *const dualstep_samples,
    data: *mut *mut dualstep_data,
) -> dualstep_status {
    let body = |pointers: &Pointers| {
        let place = pointers.result("data", data, ptr::null_mut())?;
        let name = pointers.text("name", name)?;
        let set = |half: &str, samples: *const dualstep_samples| {
            let dualstep_samples { count, values, labels } = pointers.slice(half, samples, 1)?[0];
            let length = count.checked_mul(features as usize);
            let length =
                length.ok_or_else(|| Fault::argument(format!("{half}: no memory holds {count} samples")))?;
            let values = Values::Reals(pointers.slice("values", values, length)?.to_vec());
            let labels = pointers.slice("labels", labels, count)?.to_vec();
            let name = format!("{name}/{half}");
            Ok::<_, Fault>(Dataset::new(name, features as usize, classes as usize, values, labels)?)
        };
        let train = set("train", train)?;
        let test = if test.is_null() { None } else { Some(set("test", test)?) };
        place.put(handle::give(dualstep_data { source: name.to_owned(), train, test }));
        Ok(())
    };
    // SAFETY: C's promises.
    unsafe { with_pointers(body) }
}

/// Tells the sizes of a data set. Set `size` first.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dualstep_data_describe(
    data: *const dualstep_data,
    sizes: *mut dualstep_data_sizes,
) -> dualstep_status {
    // SAFETY: C's promises.
    unsafe { with_pointers(|pointers| pointers.fill(sizes, &handle::get(data)?.sizes())) }
}

/// Copies `count` samples of a half from number `first` on, as a network sees them: pixels between 0 and 1. `values` has room
/// for count * features, `labels` for count; either may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dualstep_data_read(
    data: *const dualstep_data,
    half: Code<dualstep_half>,
    first: usize,
    count: usize,
    values: *mut f32,
    labels: *mut u32,
) -> dualstep_status {
    let body = |pointers: &Pointers| {
        let data = handle::get(data)?;
        let set = data.half(half)?;
        let Some(end) = first.checked_add(count).filter(|end| *end <= set.len()) else {
            let all = set.len();
            return Err(Fault::argument(format!(
                "samples from {first} on, {count} of them; there are {all}"
            )));
        };
        if !values.is_null() {
            let room = pointers.room("values", values, count * set.features())?;
            room.put(&set.scaled_rows(first..end, set.features())?);
        }
        if !labels.is_null() {
            pointers.room("labels", labels, count)?.put(&set.labels()[first..end]);
        }
        Ok(())
    };
    // SAFETY: C's promises.
    unsafe { with_pointers(body) }
}

/// Frees a data set; NULL is allowed. Trainings on it go on working.
#[unsafe(no_mangle)]
pub extern "C" fn dualstep_data_free(data: *mut dualstep_data) -> dualstep_status {
    guarded(|| handle::free(data))
}
