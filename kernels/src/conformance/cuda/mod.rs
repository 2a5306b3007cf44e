//! The CUDA kernels, emulated, against the same references; with `KERNELS_ON_GPU=1` in the environment, on this machine's GPU.
//!
//! Inputs are bf16 numbers. Tolerance: twice the error of a plain run (f32 arithmetic on those numbers, rounded to bf16 where
//! a plain program would store bf16), three times for gradients, plus what [`super::close`] always allows. Every case runs with
//! two orders of threads, with asynchronous copies that arrive late and at any time.

mod attention;
mod barriers;
mod far;
mod hopper;
mod machine;
mod plain;
#[cfg(feature = "cuda")]
mod proof;
mod rows;

use half::bf16;

use super::{Random, close, close_sum};
use crate::cuda::driver::Stream;
use crate::cuda::emulation::Mistake;
use crate::cuda::runtime::{Memory, Queue, Runtime};
use machine::{Images, Machine};

/// Runs a case under two orders of threads, or twice on the GPU with the kernels that every one runs.
pub(super) fn emulate(case: impl Fn(&Gpu)) {
    if let Some(runtime) = machine::card(false) {
        let gpu = Gpu { runtime };
        return (0..2).for_each(|_| case(&gpu));
    }
    for seed in [1, 1 << 32] {
        let Some(runtime) = machine::emulated(seed, false, None) else { return };
        case(&Gpu { runtime });
    }
}

/// The same as of compute capability 9.0; a GPU that has less goes without.
pub(super) fn emulate_hopper(case: impl Fn(&Gpu)) {
    if let Some(runtime) = machine::card(true) {
        return case(&Gpu { runtime });
    }
    for seed in [1, 2, 1 << 32] {
        let Some(runtime) = machine::emulated(seed, true, None) else { return };
        case(&Gpu { runtime });
    }
}

/// A GPU whose kernels have a mistake, under one order of threads.
pub(super) fn mistaken(seed: u64, hopper: bool, mistake: Option<Mistake>) -> Option<Gpu> {
    Some(Gpu { runtime: machine::emulated(seed, hopper, mistake)? })
}

/// A GPU with what tests do to it.
pub(super) struct Gpu {
    runtime: Runtime<Machine, Images>,
}

impl Gpu {
    pub(super) fn queue(&self) -> Queue<'_, Machine, Images> {
        self.runtime.queue(Stream(0))
    }

    /// Memory full of NaN, where it is small; gigabytes are zeros.
    pub(super) fn room(&self, bytes: usize) -> Memory<Machine> {
        let memory = self.runtime.memory(bytes as u64).expect("memory");
        self.runtime.driver().spoil(&memory);
        memory
    }

    pub(super) fn bytes(&self, bytes: &[u8]) -> Memory<Machine> {
        let memory = self.room(bytes.len());
        memory.write(Stream(0), bytes).expect("a write");
        memory
    }

    /// Numbers that are bf16 already.
    pub(super) fn bf16(&self, values: &[f32]) -> Memory<Machine> {
        self.bytes(&values.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect::<Vec<_>>())
    }

    pub(super) fn f32(&self, values: &[f32]) -> Memory<Machine> {
        self.bytes(&values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>())
    }

    pub(super) fn u32(&self, values: &[u32]) -> Memory<Machine> {
        self.bytes(&values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>())
    }

    pub(super) fn read(&self, memory: &Memory<Machine>) -> Vec<u8> {
        memory.read(Stream(0), memory.bytes() as usize).expect("a read")
    }

    pub(super) fn read_bf16(&self, memory: &Memory<Machine>) -> Vec<f32> {
        let bytes = self.read(memory);
        bytes.as_chunks::<2>().0.iter().map(|&v| bf16::from_le_bytes(v).to_f32()).collect()
    }

    pub(super) fn read_f32(&self, memory: &Memory<Machine>) -> Vec<f32> {
        let bytes = self.read(memory);
        bytes.as_chunks::<4>().0.iter().map(|&v| f32::from_le_bytes(v)).collect()
    }
}

/// The nearest bf16 numbers.
pub(super) fn rounded(values: &[f32]) -> Vec<f32> {
    values.iter().map(|&v| bf16::from_f32(v).to_f32()).collect()
}

/// Random bf16 numbers.
pub(super) fn normal(random: &mut Random, len: usize) -> Vec<f32> {
    rounded(&random.normal(len))
}
