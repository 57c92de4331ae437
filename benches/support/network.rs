//! A network in training by dlADMM: of the paper's depth, on the embedded images.

use dualstep::Error;
use dualstep::bench::Size;
use dualstep::data::DataSource;
use dualstep::engine::Gpu;
use dualstep::solvers::dladmm::{Config, DlAdmm, Problem, Rows, Samples, Targets};

use super::Row;

/// 5,000 images and two hidden layers of `width`, or very few of either for tests. Iterations take no scores.
pub fn network(gpu: &Gpu, size: Size, width: u32, config: Config) -> Result<DlAdmm, Error> {
    let (count, width) = if size == Size::Tiny { (64, 16) } else { (5000, width) };
    let images = DataSource::Embedded.load()?.train.first(count)?;
    let features = images.features();
    let values = images.scaled_rows(0..images.len(), features)?;
    let train = Samples {
        features: features as u32,
        values: Rows::Dense(&values),
        targets: Targets::Classes(images.labels()),
    };
    let config = Config { hidden: vec![width; 2], evaluate_every: 0, ..config };
    let problem = Problem { outputs: images.classes() as u32, train, test: None };
    DlAdmm::new(gpu, &config, &problem)
}

/// One iteration and the next, as the network goes on; of an accelerated one, those that try a candidate.
pub fn iteration<'a>(name: &str, network: &'a DlAdmm) -> Row<'a> {
    let plan = network.iteration_plan();
    Row::new(name, plan.counts(), |replays| plan.time(replays))
}
