//! SR-STE (Zhou et al. 2021) in float64, line by line: a network of two layers with ReLU between, cross-entropy, momentum as
//! PyTorch has it, the first layer sparse.

/// W: outputs × inputs, and b.
#[derive(Clone, Debug)]
pub struct Layer {
    pub weights: Vec<f64>,
    pub bias: Vec<f64>,
}

pub struct Settings {
    pub rate: f64,
    pub momentum: f64,
    pub decay: f64,
    pub keep: usize,
    pub group: usize,
}

/// 1 where a weight is among the `keep` largest magnitudes of its group, the first of equals; else 0.
pub fn mask(weights: &[f64], keep: usize, group: usize) -> Vec<f64> {
    let mut mask = vec![0.0; weights.len()];
    for (g, values) in weights.chunks_exact(group).enumerate() {
        for k in 0..group {
            let larger = (0..group).filter(|&j| {
                let (other, own) = (values[j].abs(), values[k].abs());
                other > own || (other == own && j < k)
            });
            if larger.count() < keep {
                mask[g * group + k] = 1.0;
            }
        }
    }
    mask
}

fn layer_of(x: &[f64], weights: &[f64], bias: &[f64]) -> Vec<f64> {
    let rows = weights.chunks_exact(x.len()).zip(bias);
    rows.map(|(row, b)| row.iter().zip(x).map(|(w, x)| w * x).sum::<f64>() + b).collect()
}

/// So many full-batch steps.
pub fn train(layers: &mut [Layer; 2], inputs: &[f64], labels: &[u32], settings: &Settings, steps: usize) {
    let (samples, hidden) = (labels.len(), layers[0].bias.len());
    let features = inputs.len() / samples;
    let zero =
        |layer: &Layer| Layer { weights: vec![0.0; layer.weights.len()], bias: vec![0.0; layer.bias.len()] };
    let mut buffers = [zero(&layers[0]), zero(&layers[1])];
    for _ in 0..steps {
        let mask = mask(&layers[0].weights, settings.keep, settings.group);
        let kept: Vec<f64> = layers[0].weights.iter().zip(&mask).map(|(w, m)| w * m).collect();
        let mut gradients = [zero(&layers[0]), zero(&layers[1])];
        for (x, label) in inputs.chunks_exact(features).zip(labels) {
            let z = layer_of(x, &kept, &layers[0].bias);
            let a: Vec<f64> = z.iter().map(|z| z.max(0.0)).collect();
            let logits = layer_of(&a, &layers[1].weights, &layers[1].bias);
            let total: f64 = logits.iter().map(|v| v.exp()).sum();
            let mut delta: Vec<f64> = logits.iter().map(|v| v.exp() / total / samples as f64).collect();
            delta[*label as usize] -= 1.0 / samples as f64;
            add_outer(&mut gradients[1], &delta, &a);
            let back = |h: usize| {
                let sum: f64 =
                    delta.iter().enumerate().map(|(o, d)| d * layers[1].weights[o * hidden + h]).sum();
                if z[h] > 0.0 { sum } else { 0.0 }
            };
            let below: Vec<f64> = (0..hidden).map(back).collect();
            add_outer(&mut gradients[0], &below, x);
        }
        // The straight-through gradient is applied to the dense weights; what is off the mask is decayed as well.
        for ((gradient, m), w) in gradients[0].weights.iter_mut().zip(&mask).zip(&layers[0].weights) {
            *gradient += settings.decay * (1.0 - m) * w;
        }
        for ((layer, buffer), gradient) in layers.iter_mut().zip(&mut buffers).zip(&gradients) {
            step(&mut layer.weights, &mut buffer.weights, &gradient.weights, settings);
            step(&mut layer.bias, &mut buffer.bias, &gradient.bias, settings);
        }
    }
}

/// The gradient of one sample: delta inputᵀ, and delta for the bias.
fn add_outer(gradient: &mut Layer, delta: &[f64], inputs: &[f64]) {
    for (o, d) in delta.iter().enumerate() {
        gradient.bias[o] += d;
        for (sum, x) in gradient.weights[o * inputs.len()..].iter_mut().zip(inputs) {
            *sum += d * x;
        }
    }
}

fn step(values: &mut [f64], buffer: &mut [f64], gradient: &[f64], settings: &Settings) {
    for ((value, buffer), gradient) in values.iter_mut().zip(buffer).zip(gradient) {
        *buffer = settings.momentum * *buffer + gradient;
        *value -= settings.rate * *buffer;
    }
}
