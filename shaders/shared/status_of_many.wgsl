// The status word of a solver (see shared/status) where many workgroups of a dispatch may have something to note. The
// importing kernel declares `status: SharedStatus`. All of them note the same, so whoever comes first changes nothing.
#import "shared/finite.wgsl"

struct SharedStatus {
    origin: atomic<u32>,
    failed: atomic<u32>,
    iteration: u32,
    dropped: u32,
}

// Notes `value` under `origin` if it is not finite; only the first failure is kept.
fn note_seeing(value: f32, origin: u32) {
    if !is_finite(value) && atomicLoad(&status.origin) == 0u {
        atomicStore(&status.failed, status.iteration + 1u);
        atomicStore(&status.origin, origin);
    }
}
