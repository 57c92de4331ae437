//! Some of the embedded images, as solvers take them.

use dualstep::data::DataSource;
use dualstep::solvers::problem::{Rows, Samples, Targets};

pub const PIXELS: usize = 784;

pub struct Images {
    pub values: Vec<f32>,
    pub labels: Vec<u32>,
}

impl Images {
    pub fn first(count: usize) -> Self {
        let train = DataSource::Embedded.load().unwrap().train.first(count).unwrap();
        Self { values: train.scaled_rows(0..count, PIXELS).unwrap(), labels: train.labels().to_vec() }
    }

    pub fn samples(&self) -> Samples<'_> {
        let targets = Targets::Classes(&self.labels);
        Samples { features: PIXELS as u32, values: Rows::Dense(&self.values), targets }
    }
}
