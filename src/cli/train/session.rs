//! The training itself: keeps the device busy, takes what it reports, saves what is due.
//!
//! What always holds: the host never waits for the device between iterations. A few iterations are under way at any
//! time; only a checkpoint that is due lets them run out first, because it must be of one known iteration.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use dualstep::Error;
use dualstep::checkpoint::{self, Checkpoint};
use dualstep::engine::Profile;
use dualstep::solvers::nm::Warning;
use dualstep::solvers::sparsify::UpdateRecord;

use crate::cli::{Failure, interrupt};

use super::history::{Entry, History};
use super::log::{Log, UpdateLine};
use super::progress::Progress;
use super::solver::{News, Solver};

/// Iterations under way: while the device works on one, the next are waiting in its queue.
const UNDER_WAY: u32 = 3;
/// Between two looks at a device that has nothing new: short against an iteration, long against a look.
const NAP: Duration = Duration::from_millis(1);

/// How training came to its end.
pub enum End {
    /// All iterations are done.
    Reached,
    /// The user asked to stop; the iterations under way were finished.
    Interrupted,
    /// An iteration met a value that is not finite.
    Diverged(Error),
}

/// Where checkpoints go, and how often.
pub struct Keeper {
    /// The file, replaced by each checkpoint.
    pub path: PathBuf,
    /// Iterations between two checkpoints; `None` for one at the end.
    pub every: Option<u32>,
    /// Leave out what only resuming needs.
    pub weights_only: bool,
    /// Where the data came from.
    pub data: String,
    /// Training samples.
    pub samples: u32,
}

/// A training under way.
pub struct Session {
    solver: Solver,
    /// The last iteration to be done.
    goal: u32,
    submitted: u32,
    begun: Instant,
    /// Seconds trained before this session.
    earlier: f64,
    history: History,
    progress: Progress,
    log: Option<Log>,
    keeper: Option<Keeper>,
    /// Sparse matrices of whose masks it was said that they are restless.
    restless: Vec<usize>,
}

impl Session {
    /// A session from iteration `first`, which took `earlier` seconds, to iteration `goal`.
    pub fn new(
        solver: Solver,
        (first, earlier): (u32, f64),
        goal: u32,
        log: Option<Log>,
        keeper: Option<Keeper>,
    ) -> Self {
        Self {
            solver,
            goal,
            submitted: first,
            begun: Instant::now(),
            earlier,
            history: History::default(),
            progress: Progress::new((first, earlier), goal),
            log,
            keeper,
            restless: Vec::new(),
        }
    }

    /// What the iterations so far have shown.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// The same, when nothing else of the session is needed.
    pub fn into_history(self) -> History {
        self.history
    }

    /// The last iteration that was begun; once training has ended without diverging, it is finished.
    pub fn reached(&self) -> u32 {
        self.submitted
    }

    /// The settings, sizes and plans.
    pub fn solver(&self) -> &Solver {
        &self.solver
    }

    /// Iterations per second.
    pub fn rate(&self) -> f64 {
        self.history.last().map_or(0.0, |entry| self.progress.rate(entry))
    }

    /// Trains until the goal, an interrupt or a value that is not finite.
    pub fn train(&mut self) -> Result<End, Failure> {
        let end = self.train_in_stretches();
        self.progress.finish();
        end
    }

    fn train_in_stretches(&mut self) -> Result<End, Failure> {
        while self.submitted < self.goal {
            let every = self.keeper.as_ref().and_then(|keeper| keeper.every).unwrap_or(self.goal);
            let stop = (self.submitted / every + 1).saturating_mul(every).min(self.goal);
            if let Some(end) = self.advance(stop)? {
                return Ok(end);
            }
            if self.submitted < self.goal {
                self.save()?;
            }
        }
        Ok(End::Reached)
    }

    /// Trains up to iteration `stop` and lets everything under way run out; tells if training ended before.
    fn advance(&mut self, stop: u32) -> Result<Option<End>, Failure> {
        loop {
            let more = self.submitted < stop && !interrupt::requested();
            let room = self.solver.in_flight() < UNDER_WAY;
            if more && room {
                self.solver.run()?;
                self.submitted += 1;
            } else if self.solver.in_flight() == 0 {
                return Ok((self.submitted < stop).then_some(End::Interrupted));
            }
            match self.solver.poll() {
                Ok(News { records, updates }) if records.is_empty() && updates.is_empty() => {
                    if !(more && room) {
                        thread::sleep(NAP);
                    }
                }
                Ok(News { records, updates }) => {
                    let seconds = self.earlier + self.begun.elapsed().as_secs_f64();
                    for update in updates {
                        self.take_update(&update, seconds)?;
                    }
                    for (record, projected) in records {
                        self.take(Entry { seconds, record, projected })?;
                    }
                }
                Err(error @ Error::NotFinite { .. }) => return Ok(Some(End::Diverged(error))),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn take_update(&mut self, update: &UpdateRecord, seconds: f64) -> Result<(), Failure> {
        for warning in &update.warnings {
            // It comes with every update, and is said once.
            if let Warning::RestlessMask(matrix, _) = warning {
                if self.restless.contains(matrix) {
                    continue;
                }
                self.restless.push(*matrix);
            }
            self.progress.tell(&format!(
                "warning: after iteration {}, {}",
                update.iteration,
                update.say(warning)
            ));
        }
        let line = UpdateLine::new(update, seconds);
        if let Some(log) = &mut self.log {
            log.add_update(&line)?;
        }
        self.history.push_update(line);
        Ok(())
    }

    fn take(&mut self, entry: Entry) -> Result<(), Failure> {
        self.progress.show(&entry);
        if let Some(log) = &mut self.log {
            log.add(&entry)?;
        }
        self.history.push(entry);
        Ok(())
    }

    /// Saves a checkpoint, if there is to be one, and returns its path and iteration.
    pub fn save(&mut self) -> Result<Option<(PathBuf, u32)>, Failure> {
        let Some(keeper) = &self.keeper else { return Ok(None) };
        let (config, mut state) = self.solver.state(self.submitted)?;
        if keeper.weights_only {
            state = state.weights_alone();
        }
        let iteration = state.iteration;
        let checkpoint = Checkpoint {
            config,
            widths: self.solver.widths().to_vec(),
            samples: keeper.samples,
            data: keeper.data.clone(),
            state,
        };
        checkpoint::save(&keeper.path, &checkpoint)?;
        Ok(Some((keeper.path.clone(), iteration)))
    }

    /// Times the kernels of an iteration. It is one more iteration, so this comes last.
    pub fn profile(&self) -> Result<Profile, Error> {
        self.solver.iteration_plan().profile()
    }
}
