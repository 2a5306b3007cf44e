//! NF4 weights unpacked on a GPU.

use super::{BLOCK, SCALE_BLOCK, code};
use crate::cuda::driver::{Address, Driver, Result};
use crate::cuda::runtime::{Queue, Region};
use crate::cuda::source::{Compiler, Source};
use crate::cuda::{Budget, Kernel, blocks, params};
use std::ops::Range;

const THREADS: usize = 256;

params! {
    struct Params {
        codes: Address,
        scale_codes: Address,
        packed: Address,
        absmax: Address,
        absmax_scale: Address,
        out: Address,
        start: u64,
        len: u64,
        offset: f32,
        unused: u32,
    }
}

/// The fields of [`super::Nf4`] in device memory, and the tables that they index.
#[derive(Clone, Copy, Debug)]
pub struct Quantized<'a> {
    /// [`tables`].
    pub tables: Region<'a>,
    /// Half-bytes; begins at a multiple of 4.
    pub packed: Region<'a>,
    /// Codes of the blocks' scales.
    pub absmax: Region<'a>,
    /// Scales of those.
    pub absmax_scale: Region<'a>,
    /// Their mean.
    pub offset: f32,
    /// Number of weights.
    pub len: usize,
}

/// The 16 values of weights and the 256 of scales, f32.
pub fn tables() -> Vec<f32> {
    code::NF4.iter().chain(code::dynamic()).copied().collect()
}

/// Writes the weights of a range, whose ends are multiples of 8, to `out` bf16.
pub fn dequantize<D: Driver, C: Compiler>(
    queue: Queue<'_, D, C>,
    from: Quantized<'_>,
    range: Range<usize>,
    out: Region<'_>,
) -> Result<()> {
    let whole = range.start.is_multiple_of(8) && range.end.is_multiple_of(8);
    assert!(whole && range.end <= from.len, "kernels: weights {range:?} of {} on a GPU", from.len);
    let codes = from.tables.need("tables", 4 * (16 + 256));
    let params = Params {
        codes,
        scale_codes: codes.plus(4 * 16),
        packed: from.packed.need("packed", from.len.div_ceil(2)),
        absmax: from.absmax.need("absmax", from.len.div_ceil(BLOCK)),
        absmax_scale: from.absmax_scale.need("absmax_scale", 4 * from.len.div_ceil(BLOCK * SCALE_BLOCK)),
        out: out.need("out", 2 * range.len()),
        start: range.start as u64,
        len: range.len() as u64,
        offset: from.offset,
        unused: 0,
    };
    // SAFETY: the range lies in the weights, and the regions hold what that many weights have.
    unsafe { queue.launch(&kernel(), [blocks(range.len() as u64 / 8, THREADS), 1, 1], &params) }
}

/// The kernel.
pub fn kernel() -> Kernel {
    let constants = vec![("THREADS", THREADS as i64)];
    let source = Source { file: "nf4.cu", texts: vec![include_str!("nf4.cu")], constants };
    Kernel { source, entry: "nf4_dequantize", threads: THREADS as u32, shared: 64, budget: Budget { blocks: 4 } }
}
