//! Ctrl-C: the arm at hand is given up, nothing half done is kept; a long run keeps its step.

use std::process;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use super::run::cpu_seconds;

static ASKED: AtomicBool = AtomicBool::new(false);
static LIMIT: OnceLock<f64> = OnceLock::new();

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

/// A long run leaves off when this process has computed for so many seconds.
pub(crate) fn at(cpu_seconds: f64) {
    // One long run in a process.
    let _ = LIMIT.set(cpu_seconds);
}

/// Whether a long run's time is over, or it was asked to stop.
pub(crate) fn over() -> bool {
    asked() || LIMIT.get().is_some_and(|limit| cpu_seconds() >= *limit)
}
