//! The gradients that a step takes.

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

/// Gradients of a batch: of the mean loss of each of its sub-batches. BADM takes several and may not be given their mean,
/// since it normalises each by itself; all other methods take one.
#[derive(Default)]
pub struct SubBatches {
    pub(crate) gradients: Vec<GradientsParams>,
    pub(crate) weights: Option<Vec<f32>>,
}

impl SubBatches {
    /// Runs `loss` and its backward pass for each sub-batch, all at the module as it is.
    pub fn backward<M: Module, B>(
        module: &M,
        sub_batches: impl IntoIterator<Item = B>,
        mut loss: impl FnMut(&M, B) -> Tensor<1>,
    ) -> Self {
        let mut pass = |batch| GradientsParams::from_grads(loss(module, batch).backward(), module);
        Self { gradients: sub_batches.into_iter().map(&mut pass).collect(), weights: None }
    }

    /// Sub-batches of these many samples each, not of one size.
    pub fn with_samples(self, samples: &[usize]) -> Self {
        let all = samples.iter().sum::<usize>().max(1) as f64;
        let weights = samples.iter().map(|&samples| (samples as f64 / all) as f32).collect();
        Self { weights: Some(weights), ..self }
    }
}

impl From<GradientsParams> for SubBatches {
    fn from(gradients: GradientsParams) -> Self {
        Self { gradients: vec![gradients], weights: None }
    }
}

impl From<Vec<GradientsParams>> for SubBatches {
    fn from(gradients: Vec<GradientsParams>) -> Self {
        Self { gradients, weights: None }
    }
}
