//! `dualstep train`: a network trained by dlADMM, or by its gradients, from data to checkpoint, log and report.
//!
//! What always holds: everything that can be found wrong without the device is found before it is opened, and what
//! is found wrong before training leaves no trace.

mod history;
mod log;
mod method;
mod progress;
mod session;
mod settings;
mod solver;
mod sparse;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::value_parser;
use dualstep::Error;
use dualstep::checkpoint::{self, Checkpoint};
use dualstep::data::{DataSource, Split};
use dualstep::engine::{Gpu, GpuOptions};
use dualstep::solvers::dladmm::{DlAdmm, HostState, Penalty};

use super::samples::{self, Data, DataArguments};
use super::{Failure, Outcome, interrupt, outputs, print, report, tell, text};

pub use history::{Entry, History};
pub use log::UpdateLine;
pub use session::{End, Session};
pub use settings::Settings;
pub use solver::Plan;

use log::Log;
use session::Keeper;
use settings::Agreement;
use solver::Solver;

#[cfg(test)]
pub use history::tests::plausible;

/// Flags of `dualstep train`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    data: DataArguments,
    /// Train until this iteration; those before a resumption count.
    #[arg(long, value_name = "COUNT", default_value_t = 200, value_parser = value_parser!(u32).range(1..))]
    iterations: u32,
    /// Seed of the initial weights [default: 0].
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    results: Results,
}

/// What is left behind.
#[derive(clap::Args)]
#[command(next_help_heading = "What is left behind")]
struct Results {
    /// Write a line of JSON per iteration, and per update of --sparse admm or look at other sparse weights; a resumed run
    /// adds to it.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write curves (SVG) and a summary into this folder.
    #[arg(long, value_name = "FOLDER")]
    report: Option<PathBuf>,
    /// Write a checkpoint at the end, and when interrupted or diverging.
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// Write the checkpoint every so many iterations, too.
    #[arg(long, value_name = "ITERATIONS", requires = "checkpoint", value_parser = value_parser!(u32).range(1..))]
    checkpoint_every: Option<u32>,
    /// Leave all but weights and biases out of the checkpoint: small, enough for `eval`, not for `--resume`.
    #[arg(long, requires = "checkpoint")]
    checkpoint_weights_only: bool,
    /// Go on from a checkpoint, bit for bit, with its settings and data.
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,
    /// Keep no copy of the state before each iteration: less memory, but a diverging run leaves nothing to save.
    #[arg(long)]
    no_snapshot: bool,
    /// Time the kernels of one iteration at the end.
    #[arg(long)]
    profile: bool,
}

/// What is to be trained, and from where.
struct Job {
    plan: Plan,
    data: DataSource,
    samples: Option<usize>,
    resumed: Option<Resumed>,
}

/// Where a run goes on.
struct Resumed {
    path: PathBuf,
    widths: Vec<u32>,
    iteration: u32,
    /// Of a run by dlADMM.
    state: HostState,
}

/// Trains.
pub fn run(options: &GpuOptions, arguments: &Arguments) -> Outcome {
    let job = Job::new(arguments)?;
    let results = &arguments.results;
    if results.checkpoint_weights_only && job.plan.is_on_graph() {
        return Err(Failure(
            "--checkpoint-weights-only is for eval, which takes dense layers alone; leave it or --model gcn out"
                .into(),
        ));
    }
    if let Some(path) = &results.checkpoint {
        outputs::check_file("--checkpoint", path)?;
    }
    if let Some(folder) = &results.report {
        outputs::check_folder("--report", folder)?;
    }
    let data = Data::load(&job.data, job.samples, job.plan.is_on_graph())?;
    job.check_widths(&data.split)?;
    interrupt::listen()?;
    let log = results.json.as_deref().map(Log::open).transpose()?;
    let gpu = Gpu::open(options)?;
    let solver = job.solver(&gpu, &data)?;
    let facts = facts(&gpu, &solver, &job, &data.split);
    for (name, value) in &facts {
        tell(format_args!("{name:<20} {value}"));
    }
    let mut session = job.session(solver, &data.split, arguments, log)?;
    let end = session.train()?;
    close(session, end, results, facts)
}

impl Job {
    fn new(arguments: &Arguments) -> Result<Self, Failure> {
        let given = arguments.data.data.clone().map(DataSource::absolute).transpose()?;
        let mut job = match &arguments.results.resume {
            Some(path) => Self::resumed(path, given, arguments)?,
            None => Self {
                plan: arguments.settings.plan(arguments.seed.unwrap_or_default(), arguments.iterations)?,
                data: given.unwrap_or_default(),
                samples: arguments.data.samples,
                resumed: None,
            },
        };
        match &mut job.plan {
            Plan::DlAdmm(config) => config.keep_last_finite = !arguments.results.no_snapshot,
            Plan::Gradients { config, .. } => {
                method::warnings(config).iter().for_each(|warning| tell(format_args!("warning: {warning}")));
            }
        }
        Ok(job)
    }

    /// The run in the checkpoint at `path`, with which the flags must agree.
    fn resumed(path: &Path, given: Option<DataSource>, arguments: &Arguments) -> Result<Self, Failure> {
        let Checkpoint { config, widths, samples, data, state, training } = checkpoint::load(path)?;
        let agreement = Agreement { checkpoint: path };
        let refuse = |detail: String| Err(Failure(format!("{}: {detail}", path.display())));
        match &training {
            Some(training) => {
                arguments.settings.check_training(training, arguments.iterations, &agreement)?
            }
            None => arguments.settings.check_agreement(&config, path)?,
        }
        agreement.check("data", given.map(|source| source.to_string()), data.clone())?;
        agreement.check("samples", arguments.data.samples, samples as usize)?;
        agreement.check("seed", arguments.seed, config.seed)?;
        if training.is_none() && !state.is_whole() {
            return refuse(
                "holds weights alone, enough for eval but not for --resume; use a whole checkpoint".into(),
            );
        }
        if state.iteration >= arguments.iterations {
            let (done, wanted) = (state.iteration, arguments.iterations);
            return refuse(format!(
                "is at iteration {done} already; ask for more than --iterations {wanted}"
            ));
        }
        let Ok(data) = data.parse();
        let iteration = state.iteration;
        let resumed = Some(Resumed { path: path.to_owned(), widths, iteration, state });
        let Some(training) = training else {
            let samples = Some(samples as usize);
            return Ok(Self { plan: Plan::DlAdmm(Box::new(config)), data, samples, resumed });
        };
        if let Some(last) = method::last_step(&training.config).filter(|last| *last < arguments.iterations) {
            tell(format_args!(
                "warning: the learning rate of {} is 0 from iteration {last} on",
                path.display()
            ));
        }
        let config = Box::new(training.config.clone());
        let plan = Plan::Gradients { config, start: None, resumed: Some(Box::new(training)) };
        let samples = (!plan.is_on_graph()).then_some(samples as usize);
        Ok(Self { plan, data, samples, resumed })
    }

    fn check_widths(&self, split: &Split) -> Result<(), Failure> {
        match &self.resumed {
            Some(resumed) => samples::check_widths(&resumed.path, &resumed.widths, split),
            None => self.plan.check_widths(split),
        }
    }

    /// Puts data and the first state on the device.
    fn solver(&self, gpu: &Gpu, data: &Data) -> Result<Solver, Error> {
        match (&self.resumed, &self.plan) {
            (Some(resumed), Plan::DlAdmm(config)) => data.with_problem(|problem| {
                Ok(Solver::DlAdmm(Box::new(DlAdmm::resume(gpu, config, problem, &resumed.state)?)))
            }),
            (_, plan) => plan.begin(gpu, data),
        }
    }

    /// A session that is ready to train. The host's copy of the first state goes.
    fn session(
        self,
        solver: Solver,
        split: &Split,
        arguments: &Arguments,
        mut log: Option<Log>,
    ) -> Result<Session, Failure> {
        let results = &arguments.results;
        let keeper = results.checkpoint.as_ref().map(|path| Keeper {
            path: path.clone(),
            every: results.checkpoint_every,
            weights_only: results.checkpoint_weights_only,
            data: self.data.to_string(),
            samples: split.train.len() as u32,
        });
        let first = self.resumed.as_ref().map_or(0, |resumed| resumed.iteration);
        let seconds = log.as_mut().map_or(Ok(0.0), |log| log.begin(first))?;
        Ok(Session::new(solver, (first, seconds), arguments.iterations, log, keeper))
    }
}

/// What is said at the start and in the report: names and values.
fn facts(gpu: &Gpu, solver: &Solver, job: &Job, split: &Split) -> Vec<(&'static str, String)> {
    let adapter = gpu.capabilities();
    let widths = solver.widths();
    let parameters: u64 =
        widths.windows(2).map(|sizes| u64::from(sizes[1]) * (u64::from(sizes[0]) + 1)).sum();
    let (train, test) = (text::thousands(split.train.len() as u64), text::thousands(split.test.len() as u64));
    let counts = solver.iteration_plan().counts();
    let products =
        solver.iteration_plan().operations().filter(|operation| is_product(operation.kernel)).count();
    let mut facts = vec![
        ("adapter", format!("{} ({:?}, {:?})", adapter.adapter, adapter.kind, adapter.backend)),
        ("driver", adapter.driver.clone()),
        ("network", format!("{}, {} parameters", text::joined(widths, "-"), text::thousands(parameters))),
        ("data", format!("{}, {train} training and {test} test samples", job.data)),
    ];
    facts.extend(solver.describe());
    if let Some(path) = job.plan.from() {
        facts.retain(|(name, _)| *name != "weights at the start");
        facts.push(("weights at the start", format!("those of {}", path.display())));
    }
    if let Some(resumed) = &job.resumed {
        facts.push(("resumed", format!("{} after iteration {}", resumed.path.display(), resumed.iteration)));
    }
    let gigaflops = counts.flops as f64 / 1e9;
    // Trials after the one that passes are counted, but cost nothing.
    let is_sparse = matches!(&job.plan, Plan::DlAdmm(config) if matches!(config.penalty, Penalty::L1 { .. }));
    let most = if is_sparse { "at most " } else { "" };
    facts.push((
        "an iteration",
        format!("{} dispatches, {products} products, {most}{gigaflops:.2} GFLOP", counts.dispatches),
    ));
    facts.push(("device memory", text::mebibytes(gpu.counters().memory.peak)));
    facts
}

/// Whether a kernel forms a matrix product.
fn is_product(kernel: &str) -> bool {
    let others = ["dladmm/activation_gradient", "mlp/delta", "mlp/weight_gradient"];
    kernel.starts_with("linalg/") || others.contains(&kernel)
}

/// Saves the checkpoint, writes the report and says how it went.
fn close(
    mut session: Session,
    end: End,
    results: &Results,
    mut facts: Vec<(&'static str, String)>,
) -> Outcome {
    let nothing_kept = matches!(end, End::Diverged(_)) && !session.solver().keeps_last_finite();
    let saved = if nothing_kept { Ok(None) } else { session.save() };
    let iteration = session.reached();
    let ending = match &end {
        End::Reached => format!("all {iteration} iterations done"),
        End::Interrupted => format!("interrupted after iteration {iteration}"),
        End::Diverged(error) => error.to_string(),
    };
    facts.push(("ended", ending));
    facts.push(("dualstep", env!("CARGO_PKG_VERSION").into()));
    // A checkpoint that could not be saved must not cost the report, too.
    let reported = results.report.as_ref().map(|folder| report::write(folder, &facts, session.history()));
    if let End::Diverged(error) = end {
        return Err(diverged(&error, saved, nothing_kept)); // worse than a report that could not be written
    }
    let saved = saved?;
    reported.transpose()?;
    if let End::Interrupted = end {
        let is_whole = !results.checkpoint_weights_only;
        tell(interrupted(iteration, saved.as_ref(), session.solver().is_before_pattern(), is_whole));
        return Ok(interrupt::status());
    }
    summarise(&session, saved.as_ref(), results)?;
    Ok(ExitCode::SUCCESS)
}

/// What a checkpoint was saved as, and of which iteration it is.
type Saved = (PathBuf, u32);

fn diverged(error: &Error, saved: Result<Option<Saved>, Failure>, nothing_kept: bool) -> Failure {
    let state = match saved {
        Ok(Some((path, iteration))) => format!("saved as {} (iteration {iteration})", path.display()),
        Ok(None) if nothing_kept => "nothing was saved because of --no-snapshot".into(),
        Ok(None) => "give --checkpoint FILE to save it".into(),
        Err(Failure(reason)) => format!("it was not saved: {reason}"),
    };
    Failure(format!("{error}; {state}"))
}

fn interrupted(iteration: u32, saved: Option<&Saved>, is_before_pattern: bool, is_whole: bool) -> String {
    let Some((path, _)) = saved else {
        return format!(
            "interrupted after iteration {iteration}; nothing was saved, give --checkpoint FILE to be able to go on"
        );
    };
    let path = path.display();
    let pattern = if is_before_pattern { ", whose weights are not in their pattern yet" } else { "" };
    let next = if is_whole { format!(", go on with --resume {path}") } else { String::new() };
    format!("interrupted after iteration {iteration}; saved as {path}{pattern}{next}")
}

fn summarise(session: &Session, saved: Option<&Saved>, results: &Results) -> Result<(), Failure> {
    for (name, value) in report::figures(session.history()) {
        print(format_args!("{name:<20} {value}"))?;
    }
    print(format_args!("{:<20} {:.2} iterations/s", "speed", session.rate()))?;
    if let Some((path, _)) = saved {
        print(format_args!("{:<20} {}", "checkpoint", path.display()))?;
    }
    if let Some(folder) = &results.report {
        print(format_args!("{:<20} {}", "report", folder.join(report::PAGE).display()))?;
    }
    if results.profile {
        print(session.profile()?)?;
    }
    Ok(())
}
