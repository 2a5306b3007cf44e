//! RMSNorm on a GPU.

use crate::cuda::driver::{Address, Driver, Result};
use crate::cuda::runtime::{Queue, Region};
use crate::cuda::source::{Compiler, Source};
use crate::cuda::{Budget, Kernel, params};

/// Fewest rows of a block of the backward pass.
const ROWS: usize = 16;
/// Most blocks of it: what one thread a column adds up afterwards, one after the other.
const SUMS: usize = 2048;

/// Rows of a block of the backward pass.
fn block_rows(rows: usize) -> usize {
    rows.div_ceil(SUMS).max(ROWS)
}

/// The kernels for rows of one width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RmsNorm {
    /// C, a multiple of 8.
    pub hidden: usize,
}

params! {
    struct Forward {
        x: Address,
        weight: Address,
        y: Address,
        eps: f32,
        rows: u32,
    }
}

params! {
    struct Backward {
        x: Address,
        weight: Address,
        dy: Address,
        dx: Address,
        partial: Address,
        eps: f32,
        rows: u32,
        block_rows: u32,
        unused: u32,
    }
}

params! {
    struct Reduce {
        partial: Address,
        dweight: Address,
        blocks: u64,
    }
}

/// Where dweight goes, and room for its partial sums.
#[derive(Clone, Copy, Debug)]
pub struct Dweight<'a> {
    /// f32 `[C]`, added to.
    pub dweight: Region<'a>,
    /// [`RmsNorm::partial_bytes`], overwritten.
    pub partial: Region<'a>,
}

impl RmsNorm {
    /// Every kernel of the file.
    pub fn kernels(&self) -> [Kernel; 3] {
        ["rms_norm_forward", "rms_norm_backward", "rms_norm_reduce"].map(|entry| self.kernel(entry))
    }

    /// Bytes of the partial sums over `rows` rows.
    pub fn partial_bytes(&self, rows: usize) -> u64 {
        (rows.div_ceil(block_rows(rows)) * self.hidden * size_of::<f32>()) as u64
    }

    /// `y` bf16 `[rows, C]` from `x` bf16 `[rows, C]` and `weight` bf16 `[C]`.
    pub fn forward<D: Driver, C: Compiler>(
        &self,
        queue: Queue<'_, D, C>,
        rows: usize,
        [x, weight]: [Region<'_>; 2],
        eps: f32,
        y: Region<'_>,
    ) -> Result<()> {
        let all = 2 * rows * self.hidden;
        let (x, weight, y) = (x.need("x", all), weight.need("weight", 2 * self.hidden), y.need("y", all));
        let params = Forward { x, weight, y, eps, rows: rows as u32 };
        // SAFETY: the regions are as long as the kernel's rows.
        unsafe { queue.launch(&self.kernel("rms_norm_forward"), [rows as u32, 1, 1], &params) }
    }

    /// Adds to `dx` bf16 `[rows, C]` and, where the weight trains, to dweight.
    pub fn backward<D: Driver, C: Compiler>(
        &self,
        queue: Queue<'_, D, C>,
        rows: usize,
        [x, weight, dy]: [Region<'_>; 3],
        eps: f32,
        dx: Region<'_>,
        dweight: Option<Dweight<'_>>,
    ) -> Result<()> {
        let all = 2 * rows * self.hidden;
        let (x, weight, dy) = (x.need("x", all), weight.need("weight", 2 * self.hidden), dy.need("dy", all));
        let sums = |d: Dweight<'_>| d.partial.need("partial", self.partial_bytes(rows) as usize);
        let partial = dweight.map_or(Address::NULL, sums);
        let (dx, block_rows) = (dx.need("dx", all), block_rows(rows));
        let blocks = rows.div_ceil(block_rows);
        let (rows, block_rows) = (rows as u32, block_rows as u32);
        let params = Backward { x, weight, dy, dx, partial, eps, rows, block_rows, unused: 0 };
        // SAFETY: the regions are as long as the kernel's rows, the partial sums as its blocks.
        unsafe { queue.launch(&self.kernel("rms_norm_backward"), [blocks as u32, 1, 1], &params)? };
        let Some(dweight) = dweight else { return Ok(()) };
        let dweight = dweight.dweight.need("dweight", 4 * self.hidden);
        let (grid, params) = (self.hidden.div_ceil(self.threads()), Reduce { partial, dweight, blocks: blocks as u64 });
        // SAFETY: as above.
        unsafe { queue.launch(&self.kernel("rms_norm_reduce"), [grid as u32, 1, 1], &params) }
    }

    /// Eight columns a thread, up to 512 threads; then each takes several times eight.
    fn threads(&self) -> usize {
        (self.hidden / 8).next_multiple_of(32).min(512)
    }

    fn kernel(&self, entry: &'static str) -> Kernel {
        assert!(self.hidden > 0 && self.hidden.is_multiple_of(8), "kernels: rows of {} on a GPU", self.hidden);
        let threads = self.threads();
        let constants = vec![("HIDDEN", self.hidden as i64), ("THREADS", threads as i64)];
        let source = Source { file: "rms_norm.cu", texts: vec![include_str!("rms_norm.cu")], constants };
        // One f32 a warp and sum.
        let shared = (2 * threads / 32 * size_of::<f32>()) as u32;
        // Threads in flight that keep memory busy; the backward pass holds three rows and a sum in registers.
        let resident = if entry == "rms_norm_backward" { 512 } else { 1024 };
        let blocks = (resident / threads).clamp(1, 16) as u32;
        Kernel { source, entry, threads: threads as u32, shared, budget: Budget { blocks } }
    }
}
