//! Being asked to stop: the first request lets training finish what is under way, the second ends the program.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Failure, tell};

/// The status of a program that was interrupted, by the custom of shells: 128 and the signal's number.
const STATUS: u8 = 130;

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// From here on, an interrupt is noted instead of ending the program.
pub fn listen() -> Result<(), Failure> {
    let handle = || {
        if REQUESTED.swap(true, Ordering::Relaxed) {
            std::process::exit(i32::from(STATUS));
        }
        tell("\nfinishing the iterations under way; interrupt again to stop at once");
    };
    ctrlc::set_handler(handle)
        .map_err(|error| Failure(format!("cannot listen for interrupts: {error}; try again")))
}

/// Whether there was an interrupt.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// The exit status after one.
pub fn status() -> ExitCode {
    ExitCode::from(STATUS)
}
