//! A GPU made of a child process: the kernels' own text, compiled for the host (`primitives.h`), and a program that runs the
//! threads of a block as fibers (`runtime.cpp`). It finds what is wrong with indices, masks and barriers; it says nothing about
//! speed.

mod beside;
mod child;
mod compiler;
mod idle;
#[cfg(test)]
mod tests;

pub use beside::Beside;
pub use child::Emulator;
pub use compiler::HostCompiler;
#[cfg(test)]
pub(crate) use compiler::Mistake;
pub use idle::{Idle, IdleCompiler};

use std::path::PathBuf;

use super::cache::Cache;
use super::driver::Error;
use super::runtime::Runtime;
use crate::device::Cuda;
use crate::linear::cuda::Plain;

/// A device that hands out memory and does nothing.
pub fn idle() -> Cuda<Idle, IdleCompiler, Plain> {
    let device = Cuda::new(Runtime::new(Idle::default(), IdleCompiler, None), Plain, u64::MAX);
    device.expect("a stream of nothing")
}

/// The same without memory for one allocation, counted from 1.
pub fn idle_failing_at(allocation: u64) -> Cuda<Idle, IdleCompiler, Plain> {
    let runtime = Runtime::new(Idle::failing_at(allocation), IdleCompiler, None);
    Cuda::new(runtime, Plain, u64::MAX).expect("a stream of nothing")
}

/// The runtime of a test.
#[cfg(test)]
pub(crate) type Emulated = Runtime<Emulator, HostCompiler>;

/// The device of a test.
pub type Device = Cuda<Emulator, HostCompiler, Plain>;

/// A device whose threads run in an order drawn from `seed`; none, and a loud line, where no C++ compiler is.
pub fn device(seed: u64) -> Option<Device> {
    device_of(seed, false)
}

/// The same, `hopper` as of compute capability 9.0.
pub fn device_of(seed: u64, hopper: bool) -> Option<Device> {
    let compiler = found()?.for_hopper(hopper);
    let runtime = Runtime::new(started(&compiler, seed), compiler, Some(cache()));
    Some(Cuda::new(runtime, Plain, u64::MAX).expect("a stream of the emulation"))
}

/// The same with streams beside each other, of which one is late and one wait may be missing ([`Beside::new`]).
pub fn device_beside(
    seed: u64,
    late: usize,
    deaf: Option<usize>,
) -> Option<Cuda<Beside<Emulator>, HostCompiler, Plain>> {
    let compiler = found()?;
    let runtime = Runtime::new(Beside::new(started(&compiler, seed), late, deaf), compiler, Some(cache()));
    Some(Cuda::new(runtime, Plain, u64::MAX).expect("streams of the emulation"))
}

/// A runtime whose threads run in an order drawn from `seed`; none, and a loud line, where no C++ compiler is.
#[cfg(test)]
pub(crate) fn runtime(seed: u64) -> Option<Emulated> {
    parts(seed).map(|(emulator, compiler)| Runtime::new(emulator, compiler, Some(cache())))
}

/// What a runtime is made of.
#[cfg(test)]
pub(crate) fn parts(seed: u64) -> Option<(Emulator, HostCompiler)> {
    let compiler = found()?;
    Some((started(&compiler, seed), compiler))
}

fn found() -> Option<HostCompiler> {
    let compiler = HostCompiler::find();
    if compiler.is_none() {
        eprintln!("!! NOT RUN: no C++ compiler (g++ or clang++) is here, so no CUDA kernel was emulated");
    }
    compiler
}

/// The same as of compute capability 9.0, or with a mistake in the kernels; seeds from 2³² on, under which copies hurry, have
/// AddressSanitizer watch.
#[cfg(test)]
pub(crate) fn parts_with(seed: u64, hopper: bool, mistake: Option<Mistake>) -> Option<(Emulator, HostCompiler)> {
    let compiler = found()?.for_hopper(hopper).with(mistake);
    let watched = seed >> 32 != 0 && mistake.is_none();
    let compiler = if watched { compiler.sanitized() } else { compiler };
    Some((started(&compiler, seed), compiler))
}

fn started(compiler: &HostCompiler, seed: u64) -> Emulator {
    Emulator::start(compiler, seed).expect("the emulation's child process")
}

/// Images and the child program are kept beside the test's own program.
pub(crate) fn cache() -> Cache {
    Cache::new(folder())
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
