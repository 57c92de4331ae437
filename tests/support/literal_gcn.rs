//! Graph convolutional networks from their formulas in float64, node by node, apart from the code under test: only masks
//! of dropout are asked of `reference::elementwise`, whose kernel is tested by itself.

use std::collections::BTreeSet;
use std::ops::Range;

use dualstep::models::gcn::{GcnConfig, Layer};
use dualstep::models::mlp::Activation;
use dualstep::reference::elementwise::Dropout;

/// A graph, and the nodes that the loss is over.
pub struct Literal {
    pub features: usize,
    pub x: Vec<f32>,
    pub labels: Vec<u32>,
    pub edges: Vec<[usize; 2]>,
    pub list: Vec<u32>,
}

/// A value for each parameter of a part, and how many ε f32 may be off.
pub struct Summed {
    pub value: Vec<f64>,
    pub allowed: Vec<f64>,
}

type Rows = Vec<Vec<f64>>;

fn apply(f: Activation, z: f64) -> f64 {
    match f {
        Activation::Relu => z.max(0.0),
        Activation::LeakyRelu { slope } => z * if z > 0.0 { 1.0 } else { f64::from(slope) },
        Activation::Sigmoid => 1.0 / (1.0 + (-z).exp()),
        Activation::Tanh => z.tanh(),
    }
}

fn cross_entropy(z: &[f64], label: u32) -> f64 {
    z.iter().map(|z| z.exp()).sum::<f64>().ln() - z[label as usize]
}

impl Literal {
    /// (column, value) of each entry of D^{−1/2} (A + I) D^{−1/2}, row by row.
    pub fn adjacency(&self) -> Vec<Vec<(usize, f64)>> {
        let both = |edge: &[usize; 2]| [(edge[0], edge[1]), (edge[1], edge[0])];
        let loops = (0..self.labels.len()).map(|node| (node, node));
        let pairs: BTreeSet<_> = self.edges.iter().flat_map(both).chain(loops).collect();
        let mut rows = vec![Vec::new(); self.labels.len()];
        pairs.iter().for_each(|(a, b)| rows[*a].push((*b, 1.0)));
        let degrees: Vec<f64> = rows.iter().map(|row| row.len() as f64).collect();
        for (row, degree) in rows.iter_mut().zip(&degrees) {
            for (column, value) in row {
                *value = 1.0 / (degree * degrees[*column]).sqrt();
            }
        }
        rows
    }

    fn inputs(&self) -> Rows {
        self.x.chunks_exact(self.features).map(|row| row.iter().map(|x| f64::from(*x)).collect()).collect()
    }

    /// The mean loss over those of the list at these places.
    pub fn mean_loss(
        &self,
        parameters: &[Vec<f64>],
        config: &GcnConfig,
        (seed, batches): (u32, u32),
        places: Range<usize>,
    ) -> f64 {
        let adjacency = self.adjacency();
        let drop = |rows: Rows, layer: usize| -> Rows {
            let dropout = Dropout { seed, batches, layer: layer as u32, rate: f64::from(config.dropout) };
            let kept = |(r, row): (usize, &Vec<f64>)| {
                let factor = |k| dropout.factor(r, k, row.len());
                row.iter().enumerate().map(|(k, value)| value * factor(k)).collect()
            };
            rows.iter().enumerate().map(kept).collect()
        };
        let last = config.layers.iter().rposition(|it| matches!(it, Layer::Convolution(_))).unwrap();
        let mut a = drop(self.inputs(), 0);
        for (l, layer) in config.layers.iter().enumerate() {
            let (weights, bias) = (&parameters[2 * l], &parameters[2 * l + 1]);
            let is_convolution = matches!(layer, Layer::Convolution(_));
            let mixed = |node: usize| -> Vec<f64> {
                if !is_convolution {
                    return a[node].clone();
                }
                let at = |k: usize| adjacency[node].iter().map(|(other, value)| value * a[*other][k]).sum();
                (0..a[node].len()).map(at).collect()
            };
            let affine = |row: Vec<f64>| -> Vec<f64> {
                let outputs = weights.chunks_exact(row.len()).zip(bias);
                outputs.map(|(w, b)| w.iter().zip(&row).map(|(w, a)| w * a).sum::<f64>() + b).collect()
            };
            let z: Rows = (0..a.len()).map(|node| affine(mixed(node))).collect();
            let mut out = z;
            if l + 1 < config.layers.len() {
                let activated = |row: Vec<f64>| row.iter().map(|z| apply(config.activation, *z)).collect();
                out = drop(out.into_iter().map(activated).collect(), l + 1);
                if config.skips && is_convolution && out[0].len() == a[0].len() {
                    for (out, a) in out.iter_mut().zip(&a) {
                        out.iter_mut().zip(a).for_each(|(out, a)| *out += a);
                    }
                }
            }
            a = match l == last {
                true => self.list.iter().map(|node| out[*node as usize].clone()).collect(),
                false => out,
            };
        }
        let count = places.len() as f64;
        let cost = |place: usize| cross_entropy(&a[place], self.labels[self.list[place] as usize]);
        places.map(cost).sum::<f64>() / count
    }

    /// The gradient of two convolutions with tanh between them, by the chain rule; and, by the same sums over magnitudes,
    /// what f32 may be off.
    pub fn two_convolutions(
        &self,
        parameters: &[Vec<f64>],
        width: usize,
        classes: usize,
        places: Range<usize>,
    ) -> Vec<Summed> {
        let adjacency = self.adjacency();
        let mix = |rows: &Rows| -> Rows {
            let at =
                |row: &Vec<(usize, f64)>, k: usize| row.iter().map(|(other, v)| v * rows[*other][k]).sum();
            adjacency.iter().map(|row| (0..rows[0].len()).map(|k| at(row, k)).collect()).collect()
        };
        // Rows times Wᵀ, where W has so many columns as rows have; zeros cost nothing.
        let through = |rows: &Rows, w: &[f64]| -> Rows {
            let columns = rows[0].len();
            let product = |row: &Vec<f64>| {
                let present: Vec<usize> = (0..columns).filter(|k| row[*k] != 0.0).collect();
                w.chunks_exact(columns).map(|w| present.iter().map(|k| w[*k] * row[*k]).sum()).collect()
            };
            rows.iter().map(product).collect()
        };
        let size =
            |rows: &Rows| -> Rows { rows.iter().map(|row| row.iter().map(|v| v.abs()).collect()).collect() };
        let sizes = |w: &[f64]| w.iter().map(|w| w.abs()).collect::<Vec<_>>();
        let added = |rows: Rows, bias: &[f64]| -> Rows {
            rows.iter().map(|row| row.iter().zip(bias).map(|(z, b)| z + b).collect()).collect()
        };
        let x = self.inputs();
        let [w1, b1, w2, b2] = [0, 1, 2, 3].map(|part| &parameters[part][..]);
        let z1 = added(mix(&through(&x, w1)), b1);
        let a1: Rows = z1.iter().map(|row| row.iter().map(|z| z.tanh()).collect()).collect();
        // The terms of z add up to this, and tanh is no steeper than 1.
        let z1_terms = added(mix(&through(&size(&x), &sizes(w1))), &sizes(b1));
        let z2 = added(mix(&through(&a1, w2)), b2);
        let z2_terms = added(mix(&through(&z1_terms, &sizes(w2))), &sizes(b2));
        let (mut delta, mut delta_terms) =
            (vec![vec![0.0; classes]; x.len()], vec![vec![0.0; classes]; x.len()]);
        for place in places.clone() {
            let node = self.list[place] as usize;
            let total: f64 = z2[node].iter().map(|z| z.exp()).sum();
            for k in 0..classes {
                let (p, y) = (z2[node][k].exp() / total, f64::from(u8::from(self.labels[node] == k as u32)));
                delta[node][k] = (p - y) / places.len() as f64;
                // p moves by p times what its logit and the others' mean are off.
                let largest = z2_terms[node].iter().copied().fold(0.0, f64::max);
                delta_terms[node][k] = (p * (1.0 + 2.0 * largest) + y) / places.len() as f64;
            }
        }
        let turned = |w: &[f64]| -> Vec<f64> {
            (0..width * classes).map(|at| w[at % classes * width + at / classes]).collect()
        };
        let q2 = mix(&delta);
        let q2_terms = mix(&delta_terms);
        let above = through(&q2, &turned(w2));
        let above_terms = through(&q2_terms, &turned(&sizes(w2)));
        let (mut delta1, mut delta1_terms) = (above.clone(), above_terms);
        for node in 0..x.len() {
            for k in 0..width {
                let slope = 1.0 - a1[node][k].powi(2);
                delta1[node][k] *= slope;
                // The slope is off by twice what a is, beside its own roundings.
                delta1_terms[node][k] += above[node][k].abs() * (1.0 + 2.0 * z1_terms[node][k]);
            }
        }
        // Sums over nodes, and over the magnitudes of all that they come to on the way: each addition rounds that once.
        let sums = |delta: &Rows, inputs: &Rows| -> (Vec<f64>, Vec<f64>) {
            let (outputs, columns) = (delta[0].len(), inputs[0].len());
            let (mut sums, mut passed) = (vec![0.0; outputs * columns], vec![0.0; outputs * columns]);
            for (delta, input) in delta.iter().zip(inputs) {
                for k in (0..columns).filter(|k| input[*k] != 0.0) {
                    for (o, delta) in delta.iter().enumerate() {
                        sums[o * columns + k] += delta * input[k];
                        passed[o * columns + k] += sums[o * columns + k].abs();
                    }
                }
            }
            (sums, passed)
        };
        let longest = adjacency.iter().map(Vec::len).max().unwrap_or(0) as f64;
        // Roundings of each term: products on the way, zeros left out, two mixtures each way, activation and softmax.
        let before = 18.0 + (width + classes) as f64 + 4.0 * longest + 20.0;
        let summed = |(value, passed): (Vec<f64>, Vec<f64>), terms: Vec<f64>| {
            let allowed = passed.iter().zip(terms).map(|(passed, terms)| passed + before * terms).collect();
            Summed { value, allowed }
        };
        let ones = vec![vec![1.0]; x.len()];
        // A bias is summed by lanes and a tree instead, which round each term less often than the longest sum is long.
        let biases = |delta: &Rows, terms: &Rows| {
            let (value, terms) = (sums(delta, &ones).0, sums(terms, &ones).0);
            let roundings = before + (x.len() as f64 / 64.0).ceil() + 6.0;
            Summed { value, allowed: terms.iter().map(|terms| roundings * terms).collect() }
        };
        vec![
            summed(sums(&mix(&delta1), &x), sums(&mix(&delta1_terms), &size(&x)).0),
            biases(&delta1, &delta1_terms),
            summed(sums(&q2, &a1), sums(&q2_terms, &z1_terms).0),
            biases(&delta, &delta_terms),
        ]
    }
}
