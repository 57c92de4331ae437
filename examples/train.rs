//! Trains a small network from the library: what an application does that brings samples of its own.
//!
//! `cargo run --release --example train`

use dualstep::data::DataSource;
use dualstep::engine::{Gpu, GpuOptions};
use dualstep::solvers::dladmm::{self, Config, DlAdmm, Problem, Rows, Samples, Targets};

fn main() -> Result<(), dualstep::Error> {
    let split = DataSource::Embedded.load()?;
    let (train, test) = (split.train.first(2000)?, split.test);
    let features = train.features();
    let pixels = train.scaled_rows(0..train.len(), features)?;
    let test_pixels = test.scaled_rows(0..test.len(), features)?;
    let samples = Samples {
        features: features as u32,
        values: Rows::Dense(&pixels),
        targets: Targets::Classes(train.labels()),
    };
    let unseen = Samples {
        features: features as u32,
        values: Rows::Dense(&test_pixels),
        targets: Targets::Classes(test.labels()),
    };

    let gpu = Gpu::open(&GpuOptions::default())?;
    println!("{}", gpu.capabilities());
    let config = Config { hidden: vec![64, 64], evaluate_every: 5, ..Config::default() };
    let problem = Problem { outputs: train.classes() as u32, train: samples, test: Some(unseen) };
    let mut network = DlAdmm::new(&gpu, &config, &problem)?;

    // `run` only submits. Three batches are on their way before the first record is asked for.
    for _ in 0..3 {
        network.run(5)?;
    }
    for record in network.finish()? {
        let accuracies = [record.train, record.test].map(|scores| scores.and_then(|scores| scores.accuracy));
        if let [Some(train), Some(test)] = accuracies.map(|accuracy| accuracy.map(|share| 100.0 * share)) {
            println!(
                "{:3}: objective {:8.2}, {train:.1} % / {test:.1} %",
                record.iteration, record.objective
            );
        }
    }
    let state = network.state()?;
    let scores = dladmm::evaluate(&gpu, &config, &state.layers, network.widths(), &unseen)?;
    let accuracy = 100.0 * scores.accuracy.unwrap_or_default();
    println!("on {} unseen images: {accuracy:.1} %", unseen.count());
    Ok(())
}
