//! N:M sparsity: projection of a matrix, and ADMM that draws weights to a pattern while an optimizer trains them.

use std::ptr;
use std::sync::{Arc, Mutex};

use dualstep::engine::{Gpu, PlanBuilder, Shape, StorageType, Tensor};
use dualstep::kernels::nm::{NmPattern, project};
use dualstep::kernels::optimizer::NOTHING_FOUND;
use dualstep::solvers::nm::{Measure, NmAdmm, NmConfig, Penalty, Rho};

use crate::error::dualstep_status::*;
use crate::error::{Fault, dualstep_status, guarded, with_pointers};
use crate::handle::{self, Object, exclusive};
use crate::optimizer::{Owner, dualstep_optimizer, dualstep_step};
use crate::pointer::{Code, Pointers, Versioned, codes, end};
use crate::tensor::{dualstep_slab, dualstep_tensor};

/// How weights are drawn to their pattern.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum dualstep_draw {
    /// After each step, by `strength` / `interval` whatever the learning rate: over an interval a weight goes
    /// 1 - exp(-strength) of the way.
    DUALSTEP_DRAW_PULL = 0,
    /// By a gradient, rho = `strength` times the distance, that joins the loss's before the moments: the paper's.
    DUALSTEP_DRAW_COUPLED = 1,
    /// The same with a rho for each tensor that the device chooses at each update, so that alone it would draw a weight as
    /// far as DUALSTEP_DRAW_PULL does. For methods that divide gradients by a root.
    DUALSTEP_DRAW_COUPLED_AUTO = 2,
    /// After each step, by the learning rate times rho = `strength`.
    DUALSTEP_DRAW_DECOUPLED = 3,
}

codes!(dualstep_draw:
    DUALSTEP_DRAW_PULL, DUALSTEP_DRAW_COUPLED, DUALSTEP_DRAW_COUPLED_AUTO, DUALSTEP_DRAW_DECOUPLED
);

/// Settings of N:M ADMM (NxMTransformer: Holmes et al. 2021).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct dualstep_nm_settings {
    /// sizeof(dualstep_nm_settings).
    pub size: usize,
    /// How weights are drawn to their pattern.
    pub draw: Code<dualstep_draw>,
    /// Steps from one update to the next.
    pub interval: u32,
    /// Updates of a run.
    pub updates: u32,
    /// How strongly: see `draw`.
    pub strength: f64,
    /// What an update leaves of the dual: 1 is ADMM to the letter, 0 a penalty without a dual.
    pub leak: f64,
}

// SAFETY: `repr(C)`, `size` is first, and any bytes are numbers.
unsafe impl Versioned for dualstep_nm_settings {
    const NAME: &'static str = "dualstep_nm_settings";
    const LEAST: usize = end!(leak: f64);
    const END: usize = end!(leak: f64);

    fn standard() -> Self {
        let penalty = Penalty::Pull { kappa: 1.0 };
        Self::from(NmConfig { penalty, interval: 25, updates: 40, leak: 0.5 })
    }
}

impl From<NmConfig> for dualstep_nm_settings {
    fn from(config: NmConfig) -> Self {
        let (draw, strength) = match config.penalty {
            Penalty::Pull { kappa } => (dualstep_draw::DUALSTEP_DRAW_PULL, kappa),
            Penalty::Coupled { rho: Rho::Given(rho) } => (dualstep_draw::DUALSTEP_DRAW_COUPLED, rho),
            Penalty::Coupled { rho: Rho::Auto { kappa } } => {
                (dualstep_draw::DUALSTEP_DRAW_COUPLED_AUTO, kappa)
            }
            Penalty::Decoupled { rho } => (dualstep_draw::DUALSTEP_DRAW_DECOUPLED, rho),
        };
        let NmConfig { interval, updates, leak, .. } = config;
        Self { size: size_of::<Self>(), draw: draw.into(), interval, updates, strength, leak }
    }
}

impl dualstep_nm_settings {
    fn config(&self) -> Result<NmConfig, Fault> {
        let Self { interval, updates, strength, leak, .. } = *self;
        let penalty = match self.draw.get("draw")? {
            dualstep_draw::DUALSTEP_DRAW_PULL => Penalty::Pull { kappa: strength },
            dualstep_draw::DUALSTEP_DRAW_COUPLED => Penalty::Coupled { rho: Rho::Given(strength) },
            dualstep_draw::DUALSTEP_DRAW_COUPLED_AUTO => {
                Penalty::Coupled { rho: Rho::Auto { kappa: strength } }
            }
            dualstep_draw::DUALSTEP_DRAW_DECOUPLED => Penalty::Decoupled { rho: strength },
        };
        Ok(NmConfig { penalty, interval, updates, leak })
    }
}

/// A tensor of a slab's that is to become sparse. This structure will never grow.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct dualstep_nm_part {
    /// Its number in the slab.
    pub index: usize,
    /// Weights that stay of each group.
    pub keep: u32,
    /// Weights of a group, consecutive ones of a row; at most 32, and they divide the columns.
    pub group: u32,
}

/// What an update measured of one sparse tensor.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct dualstep_nm_measure {
    /// sizeof(dualstep_nm_measure).
    pub size: usize,
    /// The distance from the weights to those of the pattern that they are drawn to, relative to their norm.
    pub primal: f64,
    /// What of the weights' norm is off the mask.
    pub off: f64,
    /// The share of the mask's bits that changed.
    pub flips: f64,
    /// How far the weights of the pattern moved, relative to their norm.
    pub dual: f64,
    /// Weights that were infinite or NaN.
    pub not_finite: f64,
    /// rho from that update on; 0 for DUALSTEP_DRAW_PULL.
    pub rho: f64,
}

// SAFETY: `repr(C)`, `size` is first, and any bytes are numbers.
unsafe impl Versioned for dualstep_nm_measure {
    const NAME: &'static str = "dualstep_nm_measure";
    const LEAST: usize = end!(rho: f64);
    const END: usize = end!(rho: f64);

    fn standard() -> Self {
        Self { size: size_of::<Self>(), ..Self::default() }
    }
}

/// N:M ADMM over some tensors of a row of parameters. One call at a time may use it or an update of its.
#[derive(Debug)]
pub struct dualstep_nm {
    gpu: Gpu,
    admm: Arc<Mutex<NmAdmm>>,
}

impl Object for dualstep_nm {
    const KIND: &'static str = "dualstep_nm";
}

/// The largest magnitudes of each group, and which those are. Waits.
fn projection(gpu: &Gpu, pattern: NmPattern, weights: &Tensor) -> Result<[Tensor; 2], Fault> {
    let projected = gpu.zeros(weights.shape(), weights.storage())?;
    let mask = gpu.zeros(pattern.mask(weights.shape())?, StorageType::U32)?;
    let found = gpu.upload_u32(Shape::vector(1), &[NOTHING_FOUND])?;
    let mut plan = PlanBuilder::new(gpu, "projection");
    project(&mut plan, pattern, weights, &projected, &mask, &found)?;
    plan.finish()?.run()?;
    match gpu.read_u32(&found)?[0] {
        NOTHING_FOUND => Ok([projected, mask]),
        word => {
            let message =
                format!("a weight near element {} is NaN or infinite; look at where it comes from", !word);
            Err(Fault::new(DUALSTEP_ERROR_NOT_FINITE, message))
        }
    }
}

/// Brings a matrix to a pattern: of every `group` consecutive weights of a row the `keep` largest in magnitude stay, of equal
/// ones the first, and the others become 0. `projected` becomes a new tensor of the same shape and storage, and `mask`,
/// unless it is NULL, one of DUALSTEP_U32 with a bit for each weight that stays: a row for each row of the matrix, whose word
/// k holds the groups from k * (32 / group) on, the first in its lowest bits and each with its first weight lowest. Waits for
/// the device.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dualstep_nm_project(
    weights: *const dualstep_tensor,
    keep: u32,
    group: u32,
    projected: *mut *mut dualstep_tensor,
    mask: *mut *mut dualstep_tensor,
) -> dualstep_status {
    let body = |pointers: &Pointers| {
        let place = pointers.result("projected", projected, ptr::null_mut())?;
        let mask_place = match mask.is_null() {
            true => None,
            false => Some(pointers.result("mask", mask, ptr::null_mut())?),
        };
        let weights = handle::get(weights)?;
        let gpu = &weights.gpu;
        let results = projection(gpu, NmPattern::new(keep, group)?, &weights.tensor)?;
        let [projected, mask] = results.map(|tensor| dualstep_tensor { gpu: gpu.clone(), tensor });
        place.put(handle::give(projected));
        if let Some(place) = mask_place {
            place.put(handle::give(mask));
        }
        Ok(())
    };
    // SAFETY: C's promises.
    unsafe { with_pointers(body) }
}

/// Sets settings of N:M ADMM to those to start with for a run of so many steps, at least 40: 40 updates, and a pull. The
/// learning rate should fall to 0 at the last step (DUALSTEP_DECAY_LINEAR). Set `size` first.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dualstep_nm_settings_default(
    settings: *mut dualstep_nm_settings,
    steps: u32,
) -> dualstep_status {
    let body = |pointers: &Pointers| pointers.fill(settings, &NmConfig::for_steps(steps)?.into());
    // SAFETY: C's promises.
    unsafe { with_pointers(body) }
}

/// Sets settings of N:M ADMM to the paper's for a run of so many steps, at least 80; its rho is from 4e-4 to 1e-2. Set `size`
/// first.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dualstep_nm_settings_paper(
    settings: *mut dualstep_nm_settings,
    steps: u32,
    rho: f64,
) -> dualstep_status {
    let body = |pointers: &Pointers| pointers.fill(settings, &NmConfig::paper(steps, rho)?.into());
    // SAFETY: C's promises.
    unsafe { with_pointers(body) }
}

/// N:M ADMM over some parts of a row of parameters that `slab` lays out. A run is dualstep_nm_start once; then, again and
/// again, `interval` runs of a step that dualstep_nm_record_step recorded, each on a new gradient, and one of an update that
/// dualstep_nm_record_update recorded; then dualstep_nm_finish once. Weights stay dense until that.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dualstep_nm_new(
    settings: *const dualstep_nm_settings,
    slab: *const dualstep_slab,
    parameters: *const dualstep_tensor,
    parts: *const dualstep_nm_part,
    count: usize,
    nm: *mut *mut dualstep_nm,
) -> dualstep_status {
    let body = |pointers: &Pointers| {
        let place = pointers.result("nm", nm, ptr::null_mut())?;
        let (slab, parameters) = (handle::get(slab)?, handle::get(parameters)?);
        let config = pointers.settings(settings)?.config()?;
        let sparse = pointers.slice("parts", parts, count)?.iter();
        let sparse = sparse.map(|part| Ok((part.index, NmPattern::new(part.keep, part.group)?)));
        let sparse = sparse.collect::<Result<Vec<_>, Fault>>()?;
        let gpu = parameters.gpu.clone();
        let admm = NmAdmm::new(&gpu, &config, &slab.slab, &parameters.tensor, &sparse)?;
        place.put(handle::give(dualstep_nm { gpu, admm: Arc::new(Mutex::new(admm)) }));
        Ok(())
    };
    // SAFETY: C's promises.
    unsafe { with_pointers(body) }
}

/// Opens a run: what weights are drawn to becomes their projection. Weights stay as they are.
#[unsafe(no_mangle)]
pub extern "C" fn dualstep_nm_start(nm: *const dualstep_nm) -> dualstep_status {
    guarded(|| {
        let nm = handle::get(nm)?;
        let mut plan = PlanBuilder::new(&nm.gpu, "nm start");
        let admm = exclusive(dualstep_nm::KIND, &nm.admm)?;
        admm.start(&mut plan)?;
        Ok(plan.finish()?.run()?)
    })
}

/// Records a step of a first-order method as dualstep_first_order_record does, which draws weights to their pattern; or, with
/// `is_masked` not 0, one that leaves weights at 0 that are 0, for fine-tuning after dualstep_nm_finish.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dualstep_nm_record_step(
    nm: *const dualstep_nm,
    optimizer: *const dualstep_optimizer,
    gradient: *const dualstep_tensor,
    is_masked: u32,
    step: *mut *mut dualstep_step,
) -> dualstep_status {
    let body = |pointers: &Pointers| {
        let place = pointers.result("step", step, ptr::null_mut())?;
        let (nm, optimizer, gradient) = (handle::get(nm)?, handle::get(optimizer)?, handle::get(gradient)?);
        let admm = exclusive(dualstep_nm::KIND, &nm.admm)?;
        let rule = exclusive(dualstep_optimizer::KIND, &optimizer.rule)?;
        let penalty = if is_masked == 0 { admm.penalty() } else { admm.masked() };
        let mut plan = PlanBuilder::new(&nm.gpu, "nm step");
        rule.first_order()?.record_sparse(&mut plan, &gradient.tensor, &[Some(penalty)])?;
        let owner = Owner::Optimizer(Arc::clone(&optimizer.rule));
        place.put(handle::give(dualstep_step::finish(&nm.gpu, plan, owner)?));
        Ok(())
    };
    // SAFETY: C's promises.
    unsafe { with_pointers(body) }
}

/// Records an update: the projection and the dual step of every sparse tensor, and what they measure. `optimizer` is what
/// takes the steps.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dualstep_nm_record_update(
    nm: *const dualstep_nm,
    optimizer: *const dualstep_optimizer,
    update: *mut *mut dualstep_step,
) -> dualstep_status {
    let body = |pointers: &Pointers| {
        let place = pointers.result("update", update, ptr::null_mut())?;
        let (nm, optimizer) = (handle::get(nm)?, handle::get(optimizer)?);
        let admm = exclusive(dualstep_nm::KIND, &nm.admm)?;
        let rule = exclusive(dualstep_optimizer::KIND, &optimizer.rule)?;
        let mut plan = PlanBuilder::new(&nm.gpu, "nm update");
        admm.update(&mut plan, rule.first_order()?)?;
        place.put(handle::give(dualstep_step::finish(&nm.gpu, plan, Owner::Nm(Arc::clone(&nm.admm)))?));
        Ok(())
    };
    // SAFETY: C's promises.
    unsafe { with_pointers(body) }
}

/// Closes a run: sparse tensors become their projections.
#[unsafe(no_mangle)]
pub extern "C" fn dualstep_nm_finish(nm: *const dualstep_nm) -> dualstep_status {
    guarded(|| {
        let nm = handle::get(nm)?;
        let mut plan = PlanBuilder::new(&nm.gpu, "nm finish");
        let admm = exclusive(dualstep_nm::KIND, &nm.admm)?;
        admm.finish(&mut plan)?;
        Ok(plan.finish()?.run()?)
    })
}

/// Changes the rho of DUALSTEP_DRAW_COUPLED or DUALSTEP_DRAW_DECOUPLED, from the next update on. Recorded steps stay good.
#[unsafe(no_mangle)]
pub extern "C" fn dualstep_nm_set_rho(nm: *const dualstep_nm, rho: f64) -> dualstep_status {
    guarded(|| {
        let nm = handle::get(nm)?;
        let mut admm = exclusive(dualstep_nm::KIND, &nm.admm)?;
        Ok(admm.set_rho(rho)?)
    })
}

/// Tells what the last update measured of a sparse tensor, by its place in `parts`. Set `size` first. Waits for the device.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dualstep_nm_measures(
    nm: *const dualstep_nm,
    place: usize,
    measure: *mut dualstep_nm_measure,
) -> dualstep_status {
    let body = |pointers: &Pointers| {
        let nm = handle::get(nm)?;
        let measures = exclusive(dualstep_nm::KIND, &nm.admm)?.read_measures()?;
        let found = measures.0.get(place).ok_or_else(|| no_part(place, measures.0.len()))?;
        let Measure { primal, off, flips, dual, not_finite, rho } = *found;
        let standard = dualstep_nm_measure::standard();
        let known = dualstep_nm_measure { primal, off, flips, dual, not_finite, rho, ..standard };
        pointers.fill(measure, &known)
    };
    // SAFETY: C's promises.
    unsafe { with_pointers(body) }
}

/// Makes a tensor of the mask of a sparse tensor, by its place in `parts`, as its last projection left it: see
/// dualstep_nm_project. It shares the mask's memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dualstep_nm_mask(
    nm: *const dualstep_nm,
    place: usize,
    mask: *mut *mut dualstep_tensor,
) -> dualstep_status {
    let body = |pointers: &Pointers| {
        let result = pointers.result("mask", mask, ptr::null_mut())?;
        let nm = handle::get(nm)?;
        let admm = exclusive(dualstep_nm::KIND, &nm.admm)?;
        let found = admm.masks().nth(place).cloned();
        let tensor = found.ok_or_else(|| no_part(place, admm.masks().count()))?;
        result.put(handle::give(dualstep_tensor { gpu: nm.gpu.clone(), tensor }));
        Ok(())
    };
    // SAFETY: C's promises.
    unsafe { with_pointers(body) }
}

fn no_part(place: usize, parts: usize) -> Fault {
    Fault::argument(format!("place = {place}, but there are {parts} sparse tensors, counted from 0"))
}

/// Fails with DUALSTEP_ERROR_NOT_FINITE if a weight was NaN or infinite, and says where. Waits for the device.
#[unsafe(no_mangle)]
pub extern "C" fn dualstep_nm_check(nm: *const dualstep_nm) -> dualstep_status {
    guarded(|| {
        let nm = handle::get(nm)?;
        let admm = exclusive(dualstep_nm::KIND, &nm.admm)?;
        Ok(admm.check()?)
    })
}

/// Frees N:M ADMM; NULL is allowed. Its recorded steps and updates go on working.
#[unsafe(no_mangle)]
pub extern "C" fn dualstep_nm_free(nm: *mut dualstep_nm) -> dualstep_status {
    guarded(|| handle::free(nm))
}
