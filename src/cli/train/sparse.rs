//! The flags of weights that become sparse while a first-order method trains.

use clap::ValueEnum;
use dualstep::solvers::nm::{NmConfig, Penalty, Rho};
use dualstep::solvers::sparsify::{Patterns, SparseConfig, Way};

use crate::cli::Failure;

/// Updates of ADMM unless its interval is given.
const UPDATES: u32 = 40;
/// ρ of the paper's most frequent setting.
const PAPER_RHO: f64 = 1e-3;

/// Which weights become sparse, and how.
#[derive(Clone, clap::Args)]
#[command(next_help_heading = "Sparse weights, with first-order methods")]
pub struct SparseSettings {
    /// How weights come to lie in their pattern [default: not at all].
    #[arg(long, value_name = "WAY")]
    sparse: Option<WayName>,
    /// The pattern: `2:4` keeps 2 of every 4 inputs of a unit in all layers but the last; `2:4,1:8,dense` says it for each
    /// layer.
    #[arg(long, value_name = "N:M")]
    pattern: Option<Patterns>,
    /// What draws weights in admm: `pull:KAPPA`, at any learning rate, `coupled:RHO`, by the gradient of (ρ/2) ‖W − T‖²,
    /// or `coupled` with a ρ of its own for each layer, chosen at every update after 20 steps, `decoupled:RHO`, by the
    /// learning rate times ρ, or `paper:RHO`, coupled and with the paper's interval and leak [default: pull:1].
    #[arg(long, value_name = "FORCE", value_parser = force)]
    draw: Option<Force>,
    /// Steps from one update of admm to the next [default: a fortieth of them].
    #[arg(long, value_name = "STEPS")]
    interval: Option<u32>,
    /// What an update of admm leaves of the dual, up to 1 [default: 0.5, but 1 with `--draw paper`].
    #[arg(long, value_name = "SHARE")]
    leak: Option<f64>,
    /// Iterations at the end with the mask fixed, for admm and sr-ste [default: 0; in admm a fifth of them where 10 updates
    /// or fewer are to leave a quarter of the weights or less].
    #[arg(long, value_name = "ITERATIONS")]
    fine_tune: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum WayName {
    /// Drawn there by ADMM, dense until the end.
    Admm,
    /// Cut off at the start; the others are trained.
    Masked,
    /// Cut off at the end of a dense training; with --learning-rate 0, of the weights it begins with.
    OneShot,
    /// The network is run in the pattern, and dense weights learn from that.
    SrSte,
    /// Never: a dense training whose scores tell what pruning would cost.
    Dense,
}

#[derive(Clone, Copy)]
enum Force {
    Penalty(Penalty),
    Paper(f64),
}

/// Reads `--draw`.
fn force(text: &str) -> Result<Force, String> {
    let (name, weight) = text.split_once(':').map_or((text, None), |(name, weight)| (name, Some(weight)));
    let weight = weight.map(|it| it.parse().map_err(|_| format!("{it:?} is no weight; give a number")));
    match (name, weight.transpose()?) {
        ("pull", kappa) => Ok(Force::Penalty(Penalty::Pull { kappa: kappa.unwrap_or(1.0) })),
        ("coupled", rho) => {
            let rho = rho.map_or(Rho::Auto { kappa: 1.0 }, Rho::Given);
            Ok(Force::Penalty(Penalty::Coupled { rho }))
        }
        ("decoupled", Some(rho)) => Ok(Force::Penalty(Penalty::Decoupled { rho })),
        ("paper", rho) => Ok(Force::Paper(rho.unwrap_or(PAPER_RHO))),
        _ => Err("must be pull, pull:KAPPA, coupled, coupled:RHO, decoupled:RHO, paper or paper:RHO".into()),
    }
}

impl SparseSettings {
    /// The first flag that is given.
    pub fn first_flag(&self) -> Option<&'static str> {
        let flags = [
            ("--sparse", self.sparse.is_some()),
            ("--pattern", self.pattern.is_some()),
            ("--fine-tune", self.fine_tune.is_some()),
        ];
        flags.iter().find(|(_, given)| *given).map(|(flag, _)| *flag).or(self.first_flag_of_admm())
    }

    fn first_flag_of_admm(&self) -> Option<&'static str> {
        let flags = [
            ("--draw", self.draw.is_some()),
            ("--interval", self.interval.is_some()),
            ("--leak", self.leak.is_some()),
        ];
        flags.iter().find(|(_, given)| *given).map(|(flag, _)| *flag)
    }

    /// What a training of so many iterations is told about sparse weights.
    pub fn config(&self, iterations: u32) -> Result<Option<SparseConfig>, Failure> {
        let refuse = |detail: String| Err(Failure(detail));
        let Some(way) = self.sparse else {
            return match self.first_flag() {
                Some(flag) => refuse(format!("{flag} needs --sparse, such as --sparse admm")),
                None => Ok(None),
            };
        };
        let Some(patterns) = self.pattern.clone() else {
            return refuse("--sparse needs a --pattern, such as --pattern 2:4".into());
        };
        if let (Some(flag), true) = (self.first_flag_of_admm(), way != WayName::Admm) {
            return refuse(format!("{flag} is for --sparse admm; leave one of them out"));
        }
        if self.fine_tune.is_some() && !matches!(way, WayName::Admm | WayName::SrSte) {
            return refuse("--fine-tune is for --sparse admm and sr-ste; leave one of them out".into());
        }
        let config = match way {
            WayName::Admm => return self.admm(patterns, iterations).map(Some),
            WayName::Masked => SparseConfig::masked(patterns),
            WayName::OneShot => SparseConfig::one_shot(patterns, iterations),
            WayName::SrSte => {
                let tuned = self.fine_tune.unwrap_or(0);
                SparseConfig::sr_ste(patterns, iterations.saturating_sub(tuned))
            }
            WayName::Dense => SparseConfig::dense(patterns),
        };
        Ok(Some(config.watched(iterations)))
    }

    fn admm(&self, patterns: Patterns, iterations: u32) -> Result<SparseConfig, Failure> {
        let settings = |steps: u32| {
            let base = match (self.draw, self.interval) {
                (Some(Force::Paper(rho)), None) => NmConfig::paper(steps, rho)?,
                (_, None) => NmConfig::for_steps(steps)?,
                (_, Some(interval)) => NmConfig {
                    penalty: Penalty::Pull { kappa: 1.0 },
                    interval,
                    updates: steps.checked_div(interval).unwrap_or(UPDATES),
                    leak: if matches!(self.draw, Some(Force::Paper(_))) { 1.0 } else { 0.5 },
                },
            };
            let penalty = match self.draw {
                Some(Force::Penalty(penalty)) => penalty,
                Some(Force::Paper(rho)) => Penalty::Coupled { rho: Rho::Given(rho) },
                None => base.penalty,
            };
            let config = NmConfig { penalty, leak: self.leak.unwrap_or(base.leak), ..base };
            config.check().map(|()| config)
        };
        Ok(SparseConfig::admm(patterns, iterations, self.fine_tune, settings)?)
    }
}

/// The settings, for the start and for reports.
pub fn describe(config: &SparseConfig) -> String {
    let SparseConfig { way, patterns, steps, .. } = config;
    let way = match way {
        Way::Magnitude => match steps {
            0 => "by magnitude at the start, masked training".into(),
            &u32::MAX => "never; scores tell what pruning would cost".into(),
            _ => format!("by magnitude after {steps} dense steps"),
        },
        Way::SrSte { decay } => format!("sr-ste for {steps} steps, λ = {decay:e}"),
        Way::Admm(NmConfig { penalty, interval, leak, .. }) => {
            let force = match penalty {
                Penalty::Pull { kappa } => format!("pull, κ = {kappa}"),
                Penalty::Coupled { rho: Rho::Given(rho) } => format!("coupled, ρ = {rho:e}"),
                Penalty::Coupled { rho: Rho::Auto { kappa } } => {
                    format!("coupled, ρ of each layer's own, κ = {kappa}")
                }
                Penalty::Decoupled { rho } => format!("decoupled, ρ = {rho:e}"),
            };
            let updates = config.updates();
            format!("admm for {steps} steps, {force}, {updates} updates {interval} steps apart, leak {leak}")
        }
    };
    format!("{patterns}, {way}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    #[command(no_binary_name = true)]
    struct Flags {
        #[command(flatten)]
        settings: SparseSettings,
    }

    fn config(line: &str, iterations: u32) -> Result<Option<SparseConfig>, String> {
        let flags = Flags::try_parse_from(line.split_whitespace()).map_err(|error| error.to_string())?;
        flags.settings.config(iterations).map_err(|Failure(detail)| detail)
    }

    #[test]
    fn flags_become_settings() {
        let pull = config("--sparse admm --pattern 2:4", 1000).unwrap().unwrap();
        let Way::Admm(nm) = pull.way else { panic!("{pull:?}") };
        assert_eq!((nm, pull.steps), (NmConfig::for_steps(1000).unwrap(), 1000));
        let paper = config("--sparse admm --pattern 1:8 --draw paper:3e-3", 1000).unwrap().unwrap();
        let Way::Admm(nm) = paper.way else { panic!("{paper:?}") };
        assert_eq!((nm, paper.steps), (NmConfig::paper(800, 3e-3).unwrap(), 800));
        let chosen =
            "--sparse admm --pattern 2:4,dense --draw coupled:0.1 --interval 30 --leak 1 --fine-tune 100";
        let chosen = config(chosen, 1000).unwrap().unwrap();
        let penalty = Penalty::Coupled { rho: Rho::Given(0.1) };
        assert_eq!(chosen.way, Way::Admm(NmConfig { penalty, interval: 30, updates: 30, leak: 1.0 }));
        assert_eq!((chosen.steps, chosen.patterns.to_string().as_str()), (900, "2:4,dense"));
        let auto = config("--sparse admm --pattern 2:4 --draw coupled", 1000).unwrap().unwrap();
        let penalty = Penalty::Coupled { rho: Rho::Auto { kappa: 1.0 } };
        assert_eq!(auto.way, Way::Admm(NmConfig { penalty, ..NmConfig::for_steps(1000).unwrap() }));
        assert_eq!(config("--sparse masked --pattern 2:4", 9).unwrap().unwrap().steps, 0);
        assert_eq!(config("--sparse one-shot --pattern 2:4", 9).unwrap().unwrap().steps, 9);
        assert_eq!(config("", 9), Ok(None));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let cases = [
            ("--pattern 2:4", "--pattern needs --sparse"),
            ("--leak 1", "--leak needs --sparse"),
            ("--sparse admm", "--sparse needs a --pattern"),
            ("--sparse masked --pattern 2:4 --interval 4", "--interval is for --sparse admm"),
            ("--sparse dense --pattern 2:4 --fine-tune 4", "--fine-tune is for --sparse admm and sr-ste"),
            ("--sparse admm --pattern 2:4 --interval 0", "interval = 0"),
            ("--sparse admm --pattern 2:4 --fine-tune 100", "fine-tune = 100"),
            ("--sparse admm --pattern 2:4 --leak 2 --interval 9", "leak = 2"),
            ("--sparse admm --pattern 4:2", "must be keep:group"),
            ("--sparse admm --pattern 2:4 --draw push", "must be pull"),
            ("--sparse admm --pattern 2:4 --draw decoupled", "must be pull"),
        ];
        for (line, part) in cases {
            let said = config(line, 100).unwrap_err();
            assert!(said.contains(part), "no `{part}` in: {said}");
        }
    }
}
