//! A GPU made of a child process: the kernels' own text, compiled for the host (`primitives.h`), and a program that runs the
//! threads of a block as fibers (`runtime.cpp`). It finds what is wrong with indices, masks and barriers; it says nothing about
//! speed.

mod child;
mod compiler;
mod tests;

pub(crate) use child::Emulator;
pub(crate) use compiler::{HostCompiler, Mistake};

use std::path::PathBuf;

use super::cache::Cache;
use super::driver::Error;
use super::runtime::Runtime;

/// The runtime of a test.
pub(crate) type Emulated = Runtime<Emulator, HostCompiler>;

/// A runtime whose threads run in an order drawn from `seed`; none, and a loud line, where no C++ compiler is.
pub(crate) fn runtime(seed: u64) -> Option<Emulated> {
    runtime_with(seed, None)
}

/// The same, with a mistake in the kernels.
pub(crate) fn runtime_with(seed: u64, mistake: Option<Mistake>) -> Option<Emulated> {
    let Some(mut compiler) = HostCompiler::find() else {
        eprintln!("!! NOT RUN: no C++ compiler (g++ or clang++) is here, so no CUDA kernel was emulated");
        return None;
    };
    if let Some(mistake) = mistake {
        compiler = compiler.with(mistake);
    }
    let emulator = Emulator::start(&compiler, seed).expect("the emulation's child process");
    Some(Runtime::new(emulator, compiler, Some(Cache::new(folder()))))
}

/// An error of the file system or of a process.
fn system(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Error {
    move |error| Error::System { what: what.into(), reason: error.to_string() }
}

/// Where images and the child program are kept: beside the test's own program.
fn folder() -> PathBuf {
    let program = std::env::current_exe().expect("the path of the test's program");
    program.ancestors().nth(2).expect("a target folder").join("emulation")
}
