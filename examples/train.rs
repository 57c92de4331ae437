//! Trains a small network from the library: what an application does that brings samples of its own.
//!
//! `cargo run --release --example train`

use dualstep::data::DataSource;
use dualstep::engine::{Gpu, GpuOptions};
use dualstep::solvers::dladmm::{self, Config, DlAdmm, Problem, Samples};

fn main() -> Result<(), dualstep::Error> {
    let split = DataSource::Embedded.load()?;
    let (train, test) = (split.train.first(2000)?, split.test);
    let features = train.features();
    let pixels = train.scaled_rows(0..train.len(), features)?;
    let test_pixels = test.scaled_rows(0..test.len(), features)?;
    let samples = Samples { features: features as u32, values: &pixels, labels: train.labels() };
    let unseen = Samples { features: features as u32, values: &test_pixels, labels: test.labels() };

    let gpu = Gpu::open(&GpuOptions::default())?;
    println!("{}", gpu.capabilities());
    let config = Config { hidden: vec![64, 64], evaluate_every: 10, ..Config::default() };
    let problem = Problem { classes: train.classes() as u32, train: samples, test: Some(unseen) };
    let mut network = DlAdmm::new(&gpu, &config, &problem)?;

    // `run` only submits. Three batches are on their way before the first record is asked for.
    for _ in 0..3 {
        network.run(20)?;
    }
    for record in network.finish()? {
        if let (Some(train), Some(test)) = (record.train, record.test) {
            let (train, test) = (100.0 * train.accuracy, 100.0 * test.accuracy);
            println!(
                "{:3}: objective {:8.2}, {train:.1} % / {test:.1} %",
                record.iteration, record.objective
            );
        }
    }
    let state = network.state()?;
    let scores = dladmm::evaluate(&gpu, &config, &state.layers, network.widths(), &unseen)?;
    println!("on {} unseen images: {:.1} %", unseen.count(), 100.0 * scores.accuracy);
    Ok(())
}
