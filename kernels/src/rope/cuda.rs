//! Rotary position embedding on a GPU.

use super::Direction;
use crate::cuda::driver::{Address, Driver, Result};
use crate::cuda::runtime::{Queue, Region};
use crate::cuda::source::{Compiler, Source};
use crate::cuda::{Budget, Kernel, blocks, params};

const THREADS: usize = 256;

/// The kernel for one head size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rope {
    /// D, a multiple of 16.
    pub head_dim: usize,
}

params! {
    struct Params {
        x: Address,
        cos: Address,
        sin: Address,
        jobs: u64,
        heads: u32,
        sign: f32,
    }
}

impl Rope {
    /// Turns `x` bf16 `[tokens, heads, D]` in place; `tables` are cosines and sines, f32 `[tokens, D/2]` each.
    pub fn apply<D: Driver, C: Compiler>(
        &self,
        queue: Queue<'_, D, C>,
        [tokens, heads]: [usize; 2],
        tables: [Region<'_>; 2],
        x: Region<'_>,
        direction: Direction,
    ) -> Result<()> {
        let half = self.head_dim / 2;
        let [cos, sin] = tables.map(|table| table.need("rope table", 4 * tokens * half));
        let sign = if direction == Direction::Forward { 1.0 } else { -1.0 };
        let jobs = (tokens * heads * half / 8) as u64;
        let x = x.need("x", 2 * tokens * heads * self.head_dim);
        let params = Params { x, cos, sin, jobs, heads: heads as u32, sign };
        // SAFETY: the regions are as long as the heads that the jobs make up.
        unsafe { queue.launch(&self.kernel(), [blocks(jobs, THREADS), 1, 1], &params) }
    }

    /// The kernel.
    pub fn kernel(&self) -> Kernel {
        assert!(self.head_dim > 0 && self.head_dim.is_multiple_of(16), "kernels: heads of {} on a GPU", self.head_dim);
        let constants = vec![("HALF", self.head_dim as i64 / 2), ("THREADS", THREADS as i64)];
        let source = Source { file: "rope.cu", texts: vec![include_str!("rope.cu")], constants };
        Kernel { source, entry: "rope", threads: THREADS as u32, shared: 0, budget: Budget { blocks: 4 } }
    }
}
