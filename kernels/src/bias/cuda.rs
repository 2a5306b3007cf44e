//! A bias on a GPU.

use crate::cuda::driver::{Address, Driver, Result};
use crate::cuda::runtime::{Queue, Region};
use crate::cuda::source::{Compiler, Source};
use crate::cuda::{Budget, Kernel, blocks, params};

const THREADS: usize = 128;
/// Rows of one partial sum: as many partial sums as a launch may have blocks along y hold 33 million rows.
const ROWS: usize = 512;

/// The kernels for one width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bias {
    /// C, a multiple of 8.
    pub width: usize,
}

params! {
    struct Forward {
        bias: Address,
        y: Address,
        jobs: u64,
    }
}

params! {
    /// Of both kernels of the gradient.
    struct Sum {
        from: Address,
        to: Address,
        count: u64,
    }
}

impl Bias {
    /// Every kernel of the file.
    pub fn kernels(&self) -> [Kernel; 3] {
        ["bias_forward", "bias_backward", "bias_reduce"].map(|entry| self.kernel(entry))
    }

    /// `y` bf16 `[rows, C]` += `bias` bf16 `[C]`.
    pub fn forward<D: Driver, C: Compiler>(
        &self,
        queue: Queue<'_, D, C>,
        rows: usize,
        bias: Region<'_>,
        y: Region<'_>,
    ) -> Result<()> {
        let jobs = (rows * self.width / 8) as u64;
        let params = Forward { bias: bias.need("bias", 2 * self.width), y: y.need("y", 2 * rows * self.width), jobs };
        // SAFETY: the regions hold a row and all rows.
        unsafe { queue.launch(&self.kernel("bias_forward"), [blocks(jobs, THREADS), 1, 1], &params) }
    }

    /// Bytes of the partial sums over `rows` rows.
    pub fn partial_bytes(&self, rows: usize) -> u64 {
        (rows.div_ceil(ROWS) * self.width * size_of::<f32>()) as u64
    }

    /// `dbias` f32 `[C]` += the sum of the rows of `dy` bf16 `[rows, C]`; `partial` is overwritten.
    pub fn backward<D: Driver, C: Compiler>(
        &self,
        queue: Queue<'_, D, C>,
        rows: usize,
        dy: Region<'_>,
        partial: Region<'_>,
        dbias: Region<'_>,
    ) -> Result<()> {
        let (parts, partial) = (rows.div_ceil(ROWS), partial.need("partial", self.partial_bytes(rows) as usize));
        assert!(parts < 1 << 16, "kernels: a bias under {rows} rows on a GPU");
        let params = Sum { from: dy.need("dy", 2 * rows * self.width), to: partial, count: rows as u64 };
        let columns = (self.width / 8).div_ceil(THREADS) as u32;
        // SAFETY: all rows, and a partial sum for each block along y.
        unsafe { queue.launch(&self.kernel("bias_backward"), [columns, parts as u32, 1], &params)? };
        let params = Sum { from: partial, to: dbias.need("dbias", 4 * self.width), count: parts as u64 };
        // SAFETY: as above.
        unsafe { queue.launch(&self.kernel("bias_reduce"), [self.width.div_ceil(THREADS) as u32, 1, 1], &params) }
    }

    fn kernel(&self, entry: &'static str) -> Kernel {
        assert!(self.width > 0 && self.width.is_multiple_of(8), "kernels: a bias of {} on a GPU", self.width);
        let constants = vec![("WIDTH", self.width as i64), ("THREADS", THREADS as i64), ("ROWS", ROWS as i64)];
        let source = Source { file: "bias.cu", texts: vec![include_str!("bias.cu")], constants };
        Kernel { source, entry, threads: THREADS as u32, shared: 0, budget: Budget { blocks: 8 } }
    }
}
