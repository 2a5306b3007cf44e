//! Ctrl-C: the step at hand is finished and kept; a second one ends the program at once.

use std::process;
use std::sync::atomic::{AtomicBool, Ordering};

/// What shells report for a program that Ctrl-C ended.
pub(super) const STATUS: i32 = 130;

static ASKED: AtomicBool = AtomicBool::new(false);

/// From here on Ctrl-C (and the system's request to end) waits for the step at hand.
pub(super) fn watch() {
    let handler = || {
        if ASKED.swap(true, Ordering::Relaxed) {
            process::exit(STATUS);
        }
        tell!("\nstopping after this step, with a checkpoint; Ctrl-C again stops at once, at the last one");
    };
    // Only a handler that is set already can be in the way; then Ctrl-C ends the program as it always did.
    if let Err(error) = ctrlc::set_handler(handler) {
        tracing::debug!("Ctrl-C is not watched: {error}");
    }
}

/// Whether to stop.
pub(super) fn asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}
