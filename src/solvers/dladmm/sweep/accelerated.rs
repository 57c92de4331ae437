//! AA-dlADMM: what an accelerator adds to an iteration, whatever its steps are (ALGORITHMS.md, AA-dlADMM; the
//! definition is this project's, chosen by measurement, where the paper's text was not available).
//!
//! W, b, a and the last z are mixed. What follows from them is formed afresh: u = −∂R/∂z, every P, every hidden z. The
//! candidate stays if the augmented Lagrangian, ridge included, did not rise; else all of it is put back, bit for bit.
//!
//! Where W alone is mixed, u stays, for its z does, and the candidate stays if the training cost of a forward pass did
//! not rise: moved by themselves, weights leave a and z behind and make the Lagrangian rise nearly always.

use super::Sweep;
use crate::Error;
use crate::kernels::dladmm::{self as kernel, Dual};
use crate::solvers::anderson::Anderson;
use crate::solvers::dladmm::config::Mixed;
use crate::solvers::dladmm::forward;

/// Rows of the merits, of which the first element counts: before a candidate and after it.
const BEFORE: u32 = 0;
const AFTER: u32 = 1;

impl Sweep<'_> {
    /// The history's part, and a candidate if one is due. The sweep and its terms are recorded before.
    pub(super) fn accelerate(&mut self, accelerator: &Anderson, candidate: bool) -> Result<(), Error> {
        let merits = &self.state.merits;
        accelerator.push(&mut self.plan)?;
        accelerator.solve(&mut self.plan)?;
        if !candidate {
            return Ok(());
        }
        self.merit(BEFORE)?;
        accelerator.mix(&mut self.plan)?;
        self.candidate_origin = Some(self.origins.len() as u32);
        self.follow()?;
        self.terms(Dual::Stays)?;
        self.candidate_origin = None;
        self.merit(AFTER)?;
        accelerator.judge(&mut self.plan, (merits, 4 * BEFORE), (merits, 4 * AFTER))?;
        accelerator.restore(&mut self.plan)
    }

    fn merit(&mut self, row: u32) -> Result<(), Error> {
        let state = self.state;
        match self.config.mixed {
            Mixed::All => {
                let terms = (&state.totals, &state.ridge);
                kernel::merit(&mut self.plan, terms, &state.control, (&state.merits, 4 * row))
            }
            Mixed::Weights => self.score(&state.train, Some(&state.layer(1).product), (&state.merits, row)),
        }
    }

    /// What follows from a candidate.
    fn follow(&mut self) -> Result<(), Error> {
        let state = self.state;
        if self.config.mixed == Mixed::All {
            for k in 0..state.dual.blocks().len() {
                kernel::dual_of_z(&mut self.plan, &state.last_layer(k), self.config.loss)?;
            }
        }
        for l in 1..=state.depth() {
            let layer = state.layer(l);
            forward::products(&mut self.plan, state.below(l), &layer.weights, &layer.product)?;
            if l < state.depth() {
                self.z_hidden(l)?;
            }
        }
        Ok(())
    }
}
