// Sub-batches of a batch: S runs of neighbouring samples, as even as can be.
//
//   sub-batch n of B samples: those from floor(n B / S) up to floor((n + 1) B / S)        S <= B, B S < 2^32

fn sub_batch_start(n: u32, samples: u32, sub_batches: u32) -> u32 {
    return n * samples / sub_batches;
}

// The sub-batch that a sample belongs to.
fn sub_batch_of(sample: u32, samples: u32, sub_batches: u32) -> u32 {
    return ((sample + 1u) * sub_batches - 1u) / samples;
}

fn sub_batch_size(n: u32, samples: u32, sub_batches: u32) -> u32 {
    return sub_batch_start(n + 1u, samples, sub_batches) - sub_batch_start(n, samples, sub_batches);
}
