//! Dropout on a GPU.

use super::Mask;
use crate::cuda::driver::{Address, Driver, Result};
use crate::cuda::runtime::{Queue, Region};
use crate::cuda::source::{Compiler, Source};
use crate::cuda::{Budget, Kernel, blocks, params};
use crate::linear::Write;

const THREADS: usize = 256;

params! {
    struct Params {
        x: Address,
        y: Address,
        len: u64,
        seed: u64,
        threshold: u32,
        factor: f32,
    }
}

/// y (+)= mask · x over `len` bf16 numbers, a multiple of 8.
pub fn apply<D: Driver, C: Compiler>(
    queue: Queue<'_, D, C>,
    mask: Mask,
    len: usize,
    x: Region<'_>,
    y: Region<'_>,
    write: Write,
) -> Result<()> {
    assert!(len.is_multiple_of(8), "kernels: dropout of {len} numbers on a GPU");
    let (x, y) = (x.need("x", 2 * len), y.need("y", 2 * len));
    let factor = 1.0 / (1.0 - mask.rate);
    let params = Params { x, y, len: len as u64, seed: mask.seed, threshold: mask.threshold(), factor };
    // SAFETY: the regions hold `len` numbers each.
    unsafe { queue.launch(&kernel(write), [blocks(len as u64 / 8, THREADS), 1, 1], &params) }
}

/// Every kernel of the file.
pub fn kernels() -> [Kernel; 2] {
    [Write::Set, Write::Add].map(kernel)
}

fn kernel(write: Write) -> Kernel {
    let constants = vec![("THREADS", THREADS as i64), ("ADD", matches!(write, Write::Add).into())];
    let source = Source { file: "dropout.cu", texts: vec![include_str!("dropout.cu")], constants };
    Kernel { source, entry: "dropout", threads: THREADS as u32, shared: 0, budget: Budget { blocks: 4 } }
}
