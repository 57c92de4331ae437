//! Oracles of `shaders/batch/`: which samples make a batch, and how it is cut into sub-batches.

use super::Matrix;
use super::sparse::Sparse;
use std::ops::Range;

/// Where training is in its data.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Samples of this epoch that were taken.
    pub position: u32,
    /// The epoch, counted from 0.
    pub epoch: u32,
    /// Of the order.
    pub seed: u32,
    /// Batches taken since training began.
    pub batches: u32,
}

/// The samples of sub-batch n of `sub_batches`: those from ⌊nB/S⌋ up to ⌊(n + 1)B/S⌋.
pub fn sub_batch(n: usize, samples: usize, sub_batches: usize) -> Range<usize> {
    n * samples / sub_batches..(n + 1) * samples / sub_batches
}

/// How many samples share the sub-batch of this one.
pub(super) fn sub_batch_size_of(sample: usize, samples: usize, sub_batches: usize) -> usize {
    let runs = (0..sub_batches).map(|n| sub_batch(n, samples, sub_batches));
    runs.filter(|run| run.contains(&sample)).map(|run| run.len()).sum()
}

fn hash(value: u32) -> u32 {
    let x = (value ^ (value >> 16)).wrapping_mul(0x7feb_352d);
    let x = (x ^ (x >> 15)).wrapping_mul(0x846c_a68b);
    x ^ (x >> 16)
}

/// Where index `index` of 0…`count` goes in this epoch: a permutation for each seed and epoch, by a Feistel network over
/// the pairs of an a × b grid, walked until it lands among the `count`. There is no other meaning to it, so this twin
/// is the kernel's own arithmetic.
pub fn permuted(index: u32, count: u32, cursor: &Cursor) -> u32 {
    let a = (1..).find(|a: &u32| u64::from(*a).pow(2) >= u64::from(count)).unwrap_or(1);
    let b = count.div_ceil(a);
    let key = hash(cursor.seed ^ hash(cursor.epoch));
    let mut at = index;
    loop {
        let (mut l, mut r) = (at / b, at % b);
        for round in 0..4u32 {
            l = (l + hash(r ^ hash(key.wrapping_add(2 * round))) % a) % a;
            r = (r + hash(l ^ hash(key.wrapping_add(2 * round + 1))) % b) % b;
        }
        at = l * b + r;
        if at < count {
            return at;
        }
    }
}

/// The samples that a batch takes, in their order in it.
pub fn taken(samples: u32, count: u32, cursor: &Cursor) -> Vec<usize> {
    let place = |s| ((u64::from(cursor.position) + u64::from(s)) % u64::from(count)) as u32;
    (0..samples).map(|s| permuted(place(s), count, cursor) as usize).collect()
}

/// y\[s\] = x\[π(position + s)\], a row for each of `samples`.
pub fn gather(x: &Matrix, samples: u32, cursor: &Cursor) -> Matrix {
    let taken = taken(samples, x.rows() as u32, cursor);
    Matrix::from_fn(taken.len(), x.cols(), |row, column| x[(taken[row], column)])
}

/// The same from sparse samples, with all their zeros.
pub fn gather_sparse(x: &Sparse, samples: u32, cursor: &Cursor) -> Matrix {
    let taken = taken(samples, x.rows() as u32, cursor);
    let mut rows = Matrix::zeros(taken.len(), x.columns);
    for (row, sample) in taken.into_iter().enumerate() {
        x.entries(sample).for_each(|entry| rows[(row, x.indices[entry] as usize)] = x.values[entry]);
    }
    rows
}

/// The same for labels.
pub fn gather_labels(x: &[u32], samples: u32, cursor: &Cursor) -> Vec<u32> {
    taken(samples, x.len() as u32, cursor).into_iter().map(|sample| x[sample]).collect()
}

/// The cursor after a batch of `samples` out of `count`, and whether the next epoch has another order.
pub fn advance(cursor: &Cursor, samples: u32, count: u32, reshuffles: bool) -> Cursor {
    let (position, batches) = (cursor.position + samples, cursor.batches + 1);
    match position >= count {
        true => Cursor { position: 0, epoch: cursor.epoch + u32::from(reshuffles), batches, ..*cursor },
        false => Cursor { position, batches, ..*cursor },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_epoch_takes_each_sample_once_in_another_order() {
        for count in [1, 2, 3, 4, 5, 10, 63, 64, 65, 100, 257, 1_000, 4_099] {
            let order = |seed, epoch| taken(count, count, &Cursor { seed, epoch, ..Cursor::default() });
            let mut sorted = order(7, 3);
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..count as usize), "{count}");
            if count >= 63 {
                assert_ne!(order(7, 3), order(7, 4), "{count}");
                assert_ne!(order(7, 3), order(8, 3), "{count}");
            }
        }
    }

    /// Each sample's place in the order should be uniform over epochs and independent of its neighbour's.
    #[test]
    fn places_are_uniform_and_neighbours_part() {
        let (count, epochs) = (100usize, 4_000);
        let mut tally = vec![0u32; count * 10];
        let mut kept_apart = 0usize;
        for epoch in 0..epochs {
            let order = taken(count as u32, count as u32, &Cursor { seed: 1, epoch, ..Cursor::default() });
            order.iter().enumerate().for_each(|(place, sample)| tally[sample * 10 + place / 10] += 1);
            kept_apart += order.windows(2).filter(|pair| pair[0] + 1 != pair[1]).count();
        }
        let expected = f64::from(epochs) / 10.0;
        let chi: f64 = tally.iter().map(|&it| (f64::from(it) - expected).powi(2) / expected).sum();
        // 100 samples with 9 degrees of freedom each; six deviations of √(2·900) above and below.
        assert!((chi - 900.0).abs() < 6.0 * 1_800f64.sqrt(), "chi squared {chi} of 900 ± 42");
        let apart = kept_apart as f64 / (f64::from(epochs) * 99.0);
        assert!((apart - 0.99).abs() < 0.002, "{apart}: a pair stays one with chance 1/100");
    }

    #[test]
    fn sub_batches_cover_a_batch_evenly() {
        for (samples, sub_batches) in [(1, 1), (7, 3), (128, 8), (100, 7), (5, 5)] {
            let runs: Vec<_> = (0..sub_batches).map(|n| sub_batch(n, samples, sub_batches)).collect();
            assert_eq!((runs[0].start, runs[sub_batches - 1].end), (0, samples));
            assert!(runs.windows(2).all(|pair| pair[0].end == pair[1].start));
            assert!(runs.iter().all(|run| run.len().abs_diff(samples / sub_batches) <= 1));
        }
    }
}
