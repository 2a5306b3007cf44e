//! Ctrl-C: the arm at hand is given up, nothing half done is kept; a long run keeps its step.

use std::process;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

static ASKED: AtomicBool = AtomicBool::new(false);
static DEADLINE: OnceLock<Instant> = OnceLock::new();

pub(crate) fn watch() {
    let handler = || {
        if ASKED.swap(true, Ordering::Relaxed) {
            process::exit(130);
        }
        eprintln!("\nstopping; finished arms are kept. Ctrl-C again stops at once");
    };
    // Only a handler that is set already can be in the way; then Ctrl-C ends the program as it always did.
    drop(ctrlc::set_handler(handler));
}

/// Whether to stop.
pub(crate) fn asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}

/// An error once it was asked to stop.
pub(crate) fn check() -> Result<(), String> {
    if asked() { Err("stopped".to_owned()) } else { Ok(()) }
}

/// When a long run leaves off.
pub(crate) fn until(deadline: Instant) {
    // One long run in a process.
    let _ = DEADLINE.set(deadline);
}

/// Whether a long run's time is over, or it was asked to stop.
pub(crate) fn over() -> bool {
    asked() || DEADLINE.get().is_some_and(|deadline| Instant::now() >= *deadline)
}
