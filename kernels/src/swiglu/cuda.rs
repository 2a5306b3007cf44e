//! SwiGLU on a GPU.

use crate::cuda::driver::{Address, Driver, Result};
use crate::cuda::runtime::{Queue, Region};
use crate::cuda::source::{Compiler, Source};
use crate::cuda::{Budget, Kernel, blocks, params};

const THREADS: usize = 256;

params! {
    /// Of both kernels: gate, up and out, or dout, gate and up.
    struct Params {
        buffers: [Address; 3],
        len: u64,
    }
}

/// `out = silu(gate) · up` over `len` bf16 numbers, a multiple of 8.
pub fn forward<D: Driver, C: Compiler>(
    queue: Queue<'_, D, C>,
    len: usize,
    [gate, up]: [Region<'_>; 2],
    out: Region<'_>,
) -> Result<()> {
    launch(queue, "swiglu_forward", len, [("gate", gate), ("up", up), ("out", out)])
}

/// Overwrites `gate` and `up` with their gradients.
pub fn backward<D: Driver, C: Compiler>(
    queue: Queue<'_, D, C>,
    len: usize,
    dout: Region<'_>,
    [gate, up]: [Region<'_>; 2],
) -> Result<()> {
    launch(queue, "swiglu_backward", len, [("dout", dout), ("gate", gate), ("up", up)])
}

/// Every kernel of the file.
pub fn kernels() -> [Kernel; 2] {
    ["swiglu_forward", "swiglu_backward"].map(kernel)
}

fn launch<D: Driver, C: Compiler>(
    queue: Queue<'_, D, C>,
    entry: &'static str,
    len: usize,
    buffers: [(&str, Region<'_>); 3],
) -> Result<()> {
    assert!(len.is_multiple_of(8), "kernels: SwiGLU of {len} numbers on a GPU");
    let buffers = buffers.map(|(name, buffer)| buffer.need(name, 2 * len));
    // SAFETY: the regions hold `len` numbers each.
    unsafe {
        queue.launch(&kernel(entry), [blocks(len as u64 / 8, THREADS), 1, 1], &Params { buffers, len: len as u64 })
    }
}

fn kernel(entry: &'static str) -> Kernel {
    let constants = vec![("THREADS", THREADS as i64)];
    let source = Source { file: "swiglu.cu", texts: vec![include_str!("swiglu.cu")], constants };
    Kernel { source, entry, threads: THREADS as u32, shared: 0, budget: Budget { blocks: 4 } }
}
