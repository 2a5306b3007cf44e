//! Gated heads on a GPU.

use crate::attention::Shape;
use crate::cuda::driver::{Address, Driver, Result};
use crate::cuda::runtime::{Queue, Region};
use crate::cuda::source::{Compiler, Source};
use crate::cuda::{Budget, Kernel, blocks, params};

const THREADS: usize = 256;
/// Queries of one partial sum of the gates' gradients.
const ROWS: usize = 64;

/// The kernels for one head size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate {
    /// D, a multiple of 8.
    pub head_dim: usize,
}

params! {
    struct Forward {
        gates: Address,
        full: Address,
        stream: Address,
        out: Address,
        jobs: u64,
        heads: u32,
        group: u32,
    }
}

params! {
    struct Backward {
        gates: Address,
        full: Address,
        stream: Address,
        dout: Address,
        dstream: Address,
        partial: Address,
        queries: u64,
        heads: u32,
        group: u32,
    }
}

params! {
    struct Reduce {
        partial: Address,
        dgates: Address,
        parts: u64,
        kv_heads: u64,
    }
}

/// Where the gradients go.
#[derive(Clone, Copy, Debug)]
pub struct Gradients<'a> {
    /// bf16, of the mixture; becomes that of the full part.
    pub dout: Region<'a>,
    /// bf16, of the streaming part, overwritten.
    pub dstream: Region<'a>,
    /// f32 `[G]`, added to.
    pub dgates: Region<'a>,
    /// [`Gate::partial_bytes`], overwritten.
    pub partial: Region<'a>,
}

impl Gate {
    /// Every kernel of the file.
    pub fn kernels(&self) -> [Kernel; 3] {
        ["gate_forward", "gate_backward", "gate_reduce"].map(|entry| self.kernel(entry))
    }

    /// Bytes of the partial sums of the gates' gradients.
    pub fn partial_bytes(&self, shape: &Shape) -> u64 {
        (4 * shape.queries.div_ceil(ROWS) * shape.kv_heads) as u64
    }

    /// `out` bf16 `[queries, H, D]` of `full` and `stream` and the f32 `gates` `[G]`.
    pub fn forward<D: Driver, C: Compiler>(
        &self,
        queue: Queue<'_, D, C>,
        shape: &Shape,
        gates: Region<'_>,
        [full, stream]: [Region<'_>; 2],
        out: Region<'_>,
    ) -> Result<()> {
        let len = shape.queries * shape.heads * self.head_dim;
        let jobs = (len / 8) as u64;
        let params = Forward {
            gates: gates.need("gates", 4 * shape.kv_heads),
            full: full.need("full", 2 * len),
            stream: stream.need("stream", 2 * len),
            out: out.need("out", 2 * len),
            jobs,
            heads: shape.heads as u32,
            group: (shape.heads / shape.kv_heads) as u32,
        };
        // SAFETY: the regions have the shape's sizes.
        unsafe { queue.launch(&self.kernel("gate_forward"), [blocks(jobs, THREADS), 1, 1], &params) }
    }

    /// Gradients of [`Gate::forward`].
    pub fn backward<D: Driver, C: Compiler>(
        &self,
        queue: Queue<'_, D, C>,
        shape: &Shape,
        gates: Region<'_>,
        [full, stream]: [Region<'_>; 2],
        gradients: Gradients<'_>,
    ) -> Result<()> {
        let len = 2 * shape.queries * shape.heads * self.head_dim;
        let partial = gradients.partial.need("partial", self.partial_bytes(shape) as usize);
        let params = Backward {
            gates: gates.need("gates", 4 * shape.kv_heads),
            full: full.need("full", len),
            stream: stream.need("stream", len),
            dout: gradients.dout.need("dout", len),
            dstream: gradients.dstream.need("dstream", len),
            partial,
            queries: shape.queries as u64,
            heads: shape.heads as u32,
            group: (shape.heads / shape.kv_heads) as u32,
        };
        let (parts, kv_heads) = (shape.queries.div_ceil(ROWS), shape.kv_heads);
        // SAFETY: the regions have the shape's sizes, the partial sums that of the grid.
        unsafe { queue.launch(&self.kernel("gate_backward"), [parts as u32, kv_heads as u32, 1], &params)? };
        let dgates = gradients.dgates.need("dgates", 4 * kv_heads);
        let params = Reduce { partial, dgates, parts: parts as u64, kv_heads: kv_heads as u64 };
        // SAFETY: as above.
        unsafe { queue.launch(&self.kernel("gate_reduce"), [kv_heads.div_ceil(THREADS) as u32, 1, 1], &params) }
    }

    fn kernel(&self, entry: &'static str) -> Kernel {
        let head_dim = self.head_dim;
        assert!(head_dim > 0 && head_dim.is_multiple_of(8), "kernels: heads of {head_dim} on a GPU");
        let constants = vec![("HEAD_DIM", head_dim as i64), ("THREADS", THREADS as i64), ("ROWS", ROWS as i64)];
        let source = Source { file: "gate.cu", texts: vec![include_str!("gate.cu")], constants };
        let shared = if entry == "gate_backward" { 4 * THREADS / 32 } else { 0 };
        Kernel { source, entry, threads: THREADS as u32, shared: shared as u32, budget: Budget { blocks: 4 } }
    }
}
