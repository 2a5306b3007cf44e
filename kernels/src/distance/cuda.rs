//! Mean squared difference of rows on a GPU.

use crate::cuda::driver::{Address, Driver, Result};
use crate::cuda::runtime::{Queue, Region};
use crate::cuda::source::{Compiler, Source};
use crate::cuda::{Budget, Kernel, params};

/// The kernel for rows of one width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Distance {
    /// C, a multiple of 8.
    pub hidden: usize,
}

params! {
    struct Params {
        x: Address,
        y: Address,
        targets: Address,
        losses: Address,
        dx: Address,
        factor: f32,
        rows: u32,
    }
}

impl Distance {
    /// `losses` f32 `[rows]` and `dx` bf16 `[rows, C]`, both overwritten, of `x` and `y` bf16 `[rows, C]` and `targets` i32 `[rows]`,
    /// as [`super::run`] defines them.
    pub fn run<D: Driver, C: Compiler>(
        &self,
        queue: Queue<'_, D, C>,
        rows: usize,
        [x, y, targets]: [Region<'_>; 3],
        grad_scale: f32,
        (losses, dx): (Region<'_>, Region<'_>),
    ) -> Result<()> {
        let all = 2 * rows * self.hidden;
        let params = Params {
            x: x.need("x", all),
            y: y.need("y", all),
            targets: targets.need("targets", 4 * rows),
            losses: losses.need("losses", 4 * rows),
            dx: dx.need("dx", all),
            factor: 2.0 * grad_scale / self.hidden as f32,
            rows: rows as u32,
        };
        // SAFETY: the regions have a row for each block.
        unsafe { queue.launch(&self.kernel(), [rows as u32, 1, 1], &params) }
    }

    /// The kernel.
    pub fn kernel(&self) -> Kernel {
        assert!(self.hidden > 0 && self.hidden.is_multiple_of(8), "kernels: rows of {} on a GPU", self.hidden);
        let threads = (self.hidden / 8).next_multiple_of(32).min(512);
        let constants = vec![("HIDDEN", self.hidden as i64), ("THREADS", threads as i64)];
        let source = Source { file: "distance.cu", texts: vec![include_str!("distance.cu")], constants };
        let budget = Budget { blocks: (1024 / threads).clamp(1, 16) as u32 };
        Kernel { source, entry: "distance", threads: threads as u32, shared: threads as u32 / 32 * 4, budget }
    }
}
