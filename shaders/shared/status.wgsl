// The status word of a solver: which of its kernels first met a value that is not finite, and when.
#import "shared/finite.wgsl"

struct Status {
    origin: u32,    // 0 while all is well, else the number the host gave that kernel's place in the plan
    failed: u32,    // iteration at which that was, counted from 1
    iteration: u32, // iterations finished
    dropped: u32,   // pivots dropped by factorisations so far
}

// The status after seeing `value` at `origin`: only the first failure is kept.
fn after_seeing(status: Status, value: f32, origin: u32) -> Status {
    if status.origin == 0u && !is_finite(value) {
        return Status(origin, status.iteration + 1u, status.iteration, status.dropped);
    }
    return status;
}
