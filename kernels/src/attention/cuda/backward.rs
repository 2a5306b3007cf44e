//! The backward pass: five products and sums of dQ that blocks add to as they come, or seven products in one order.

use super::tiling::{FUSED, SMALL, Tiling};
use super::visible::{Passes, Visible};
use super::{Attention, WALK};
use crate::attention::Shape;
use crate::cuda::driver::{Address, Driver, Result};
use crate::cuda::runtime::{Queue, Region};
use crate::cuda::source::Compiler;
use crate::cuda::{Budget, Kernel, blocks, params};

params! {
    struct Stats {
        out: Address,
        dout: Address,
        lse: Address,
        stats: Address,
        queries: u32,
        heads: u32,
        padded: u64,
    }
}

params! {
    /// `Gradients` of backward.cuh.
    pub(super) struct Gradients {
        stats: Address,
        dq_sums: Address,
        dk: Address,
        dv: Address,
        lists: [Address; 4],
        kv_head: u32,
        queries: u32,
        keys: u32,
        heads: u32,
        group: u32,
        scale: f32,
        scale_log2: f32,
        some: u32,
        section: u32,
        unused: u32,
    }
}

params! {
    struct Fused {
        gradients: Gradients,
        tensors: [Address; 4],
    }
}

params! {
    struct Round {
        dq_sums: Address,
        dq: Address,
        queries: u32,
        heads: u32,
        some: u32,
        head: u32,
        scale: f32,
        unused: u32,
    }
}

params! {
    struct BackwardKeys {
        tensors: [Address; 4],
        stats: Address,
        dk: Address,
        dv: Address,
        lists: [Address; 4],
        queries: u32,
        keys: u32,
        heads: u32,
        group: u32,
        scale: f32,
        scale_log2: f32,
    }
}

params! {
    struct BackwardQueries {
        tensors: [Address; 4],
        stats: Address,
        dq: Address,
        lists: [Address; 4],
        queries: u32,
        heads: u32,
        group: u64,
        scale: f32,
        scale_log2: f32,
    }
}

/// What the forward pass left, and the gradient that comes in: bf16 but for the f32 log-sum-exp.
#[derive(Clone, Copy, Debug)]
pub struct Saved<'a> {
    /// Queries.
    pub q: Region<'a>,
    /// Keys.
    pub k: Region<'a>,
    /// Values.
    pub v: Region<'a>,
    /// The output.
    pub out: Region<'a>,
    /// The log-sum-exp.
    pub lse: Region<'a>,
    /// The output's gradient.
    pub dout: Region<'a>,
}

/// What every kernel of the five products shares.
pub(super) const BACKWARD: &str = include_str!("backward.cuh");
/// Bytes of `Turns` of backward.cu.
const TURNS: usize = WALK + 40;
/// Bytes that the sums of dQ may take, where one key/value head's take no more: a launch for as many heads as fit, so that a long
/// sequence does not hold all of dQ in f32. At 131072 tokens of 128 numbers a launch covers eight query heads, 1024 blocks for each
/// of their key/value heads.
const SUMS: u64 = if cfg!(test) { TESTED_SUMS } else { 512 << 20 };
/// So few that small tests take several launches.
const TESTED_SUMS: u64 = 64 << 10;

/// What every kernel here is launched with.
#[derive(Clone, Copy)]
pub(super) struct Call {
    pub(super) shape: Shape,
    scale: f32,
    /// Queries, keys, values, the output's gradient.
    pub(super) tensors: [Address; 4],
    stats: Address,
    /// Of queries, keys, values.
    grads: [Address; 3],
}

impl Call {
    /// What five products take for `some` key/value heads from `kv_head` on.
    fn gradients<D: Driver>(&self, visible: &Visible<D>, dq_sums: Address, [kv_head, some]: [usize; 2]) -> Gradients {
        let (Shape { queries, keys, heads, kv_heads, .. }, [_, dk, dv]) = (self.shape, self.grads);
        Gradients {
            stats: self.stats,
            dq_sums,
            dk,
            dv,
            lists: visible.lists(visible.places.backward_keys),
            kv_head: kv_head as u32,
            queries: queries as u32,
            keys: keys as u32,
            heads: heads as u32,
            group: (heads / kv_heads) as u32,
            scale: self.scale,
            scale_log2: self.scale * std::f32::consts::LOG2_E,
            some: some as u32,
            section: 0,
            unused: 0,
        }
    }
}

/// Rows that queries take in what is laid out by heads: every tile is whole. `padded` of attention.cuh.
fn padded(queries: usize) -> usize {
    queries.next_multiple_of(128)
}

impl Attention {
    /// Overwrites `dq`, `dk`, `dv`, bf16 of the shapes of queries, keys and values; the same bits every time where `visible` was made
    /// for that. `scratch` holds [`Attention::backward_bytes`].
    pub fn backward<D: Driver, C: Compiler>(
        &self,
        queue: Queue<'_, D, C>,
        visible: &Visible<D>,
        scale: f32,
        saved: Saved<'_>,
        [dq, dk, dv]: [Region<'_>; 3],
        scratch: Region<'_>,
    ) -> Result<()> {
        assert!(scale > 0.0, "kernels: attention's scale is {scale}");
        let shape = visible.shape;
        let Shape { queries, keys, heads, kv_heads, .. } = shape;
        let (of_queries, of_keys) = (2 * queries * heads * self.head_dim, 2 * keys * kv_heads * self.head_dim);
        let stats = scratch.need("scratch", self.backward_bytes(&shape, visible.passes) as usize);
        let dout = saved.dout.need("dout", of_queries);
        let tensors = [saved.q.need("q", of_queries), saved.k.need("k", of_keys), saved.v.need("v", of_keys), dout];
        let grads = [dq.need("dq", of_queries), dk.need("dk", of_keys), dv.need("dv", of_keys)];

        let (out, lse) = (saved.out.need("out", of_queries), saved.lse.need("lse", 4 * queries * heads));
        let rows = padded(queries);
        let params = Stats { out, dout, lse, stats, queries: queries as u32, heads: heads as u32, padded: rows as u64 };
        // SAFETY: one row of output, gradient and log-sum-exp for each query and head.
        unsafe { queue.launch(&self.stats_kernel(), self.row_grid(rows * heads), &params)? };

        let call = Call { shape, scale, tensors, stats, grads };
        match visible.passes {
            Passes::Backward => self.backward_fused(queue, visible, &call),
            Passes::Deterministic => self.backward_in_order(queue, visible, &call),
            other => panic!("kernels: lists for {other:?} serve no backward pass"),
        }
    }

    /// Bytes of what the backward pass notes of each query and head, and of the sums of dQ.
    pub fn backward_bytes(&self, shape: &Shape, passes: Passes) -> u64 {
        let stats = self.stats_bytes(shape);
        let sums = self.sums_bytes(shape) * self.heads_at_once(shape) as u64;
        if passes == Passes::Deterministic { stats } else { stats + sums }
    }

    fn stats_bytes(&self, shape: &Shape) -> u64 {
        (8 * padded(shape.queries) * shape.heads) as u64
    }

    /// Bytes of the sums of dQ of a key/value head: those of its group's query heads, in f32.
    fn sums_bytes(&self, shape: &Shape) -> u64 {
        let rows = padded(shape.queries) * (shape.heads / shape.kv_heads);
        4 * (rows * self.head_dim) as u64
    }

    /// Key/value heads of a launch.
    fn heads_at_once(&self, shape: &Shape) -> usize {
        (SUMS / self.sums_bytes(shape).max(1)).clamp(1, shape.kv_heads as u64) as usize
    }

    fn backward_fused<D: Driver, C: Compiler>(
        &self,
        queue: Queue<'_, D, C>,
        visible: &Visible<D>,
        call: &Call,
    ) -> Result<()> {
        let (Shape { queries, heads, kv_heads, .. }, at_once) = (call.shape, self.heads_at_once(&call.shape));
        let group = heads / kv_heads;
        let dq_sums = call.stats.plus(self.stats_bytes(&call.shape));
        for kv_head in (0..kv_heads).step_by(at_once) {
            let some = at_once.min(kv_heads - kv_head);
            let bytes = self.sums_bytes(&call.shape) * some as u64;
            queue.runtime().driver().fill(queue.stream(), dq_sums, 0, bytes)?;
            let gradients = call.gradients(visible, dq_sums, [kv_head, some]);
            if visible.hopper.backward {
                self.launch_hopper_backward(queue, call, gradients)?;
            } else {
                self.launch_fused(queue, call, gradients)?;
            }
            let params = Round {
                dq_sums,
                dq: call.grads[0],
                queries: queries as u32,
                heads: heads as u32,
                some: (some * group) as u32,
                head: (kv_head * group) as u32,
                scale: call.scale,
                unused: 0,
            };
            // A thread takes sixteen numbers.
            let grid = [blocks(bytes / 64, 32 * FUSED.warps), 1, 1];
            // SAFETY: the sums are those of `some` heads, the gradient has the size of the shape.
            unsafe { queue.launch(&self.round_kernel(), grid, &params)? };
        }
        Ok(())
    }

    fn launch_fused<D: Driver, C: Compiler>(
        &self,
        queue: Queue<'_, D, C>,
        call: &Call,
        gradients: Gradients,
    ) -> Result<()> {
        let params = Fused { gradients, tensors: call.tensors };
        let grid = [call.shape.keys.div_ceil(FUSED.keys) as u32, gradients.some, 1];
        // SAFETY: the tensors have the sizes of the shape that the lists were made for, the sums those of `some` heads.
        unsafe { queue.launch(&self.fused_kernel(), grid, &params) }
    }

    fn backward_in_order<D: Driver, C: Compiler>(
        &self,
        queue: Queue<'_, D, C>,
        visible: &Visible<D>,
        call: &Call,
    ) -> Result<()> {
        let Call { tensors, stats, grads: [dq, dk, dv], scale, .. } = *call;
        let Shape { queries, keys, heads, kv_heads, .. } = call.shape;
        let (scale_log2, group) = (scale * std::f32::consts::LOG2_E, heads / kv_heads);
        let params = BackwardKeys {
            tensors,
            stats,
            dk,
            dv,
            lists: visible.lists(visible.places.backward_keys),
            queries: queries as u32,
            keys: keys as u32,
            heads: heads as u32,
            group: group as u32,
            scale,
            scale_log2,
        };
        let grid = [keys.div_ceil(SMALL.keys) as u32, kv_heads as u32, 1];
        // SAFETY: the tensors have the sizes of the shape that the lists were made for.
        unsafe { queue.launch(&self.keys_kernel(), grid, &params)? };

        let params = BackwardQueries {
            tensors,
            stats,
            dq,
            lists: visible.lists(visible.places.backward_queries),
            queries: queries as u32,
            heads: heads as u32,
            group: group as u64,
            scale,
            scale_log2,
        };
        let grid = [queries.div_ceil(SMALL.queries) as u32, heads as u32, 1];
        // SAFETY: as above.
        unsafe { queue.launch(&self.queries_kernel(), grid, &params) }
    }

    /// Five products where a block may have the shared memory that they take, and order does not matter; seven otherwise.
    pub fn backward_passes(&self, block_memory: u32, deterministic: bool) -> Passes {
        let fits = self.fused_kernel().shared <= block_memory;
        if fits && !deterministic { Passes::Backward } else { Passes::Deterministic }
    }

    pub(super) fn backward_kernels(&self) -> [Kernel; 5] {
        [self.fused_kernel(), self.round_kernel(), self.keys_kernel(), self.queries_kernel(), self.stats_kernel()]
    }

    fn fused_kernel(&self) -> Kernel {
        let mut constants = FUSED.constants(self.head_dim);
        constants.push(("FRESH", 0));
        let rows = 2 * FUSED.keys + 3 * FUSED.queries;
        // P and dS, two numbers of each query in turns, and the walk.
        let extra = 2 * Tiling::bytes(FUSED.queries, FUSED.keys) + 2 * 8 * FUSED.queries + TURNS;
        let own = vec![BACKWARD, include_str!("backward.cu")];
        self.kernel("attention_backward", own, constants, FUSED, (rows, extra))
    }

    fn round_kernel(&self) -> Kernel {
        let fused = self.fused_kernel();
        Kernel { entry: "attention_round", shared: 0, budget: Budget { blocks: 4 }, ..fused }
    }

    fn keys_kernel(&self) -> Kernel {
        let mut constants = SMALL.constants(self.head_dim);
        constants.push(("FRESH", 1));
        let rows = 2 * (SMALL.queries + SMALL.keys);
        // Two numbers of each query, in turns, and a word of visible pairs for each thread.
        let extra = WALK + 2 * 8 * SMALL.queries + 4 * 32 * SMALL.warps;
        self.kernel("attention_backward_keys", vec![include_str!("backward_keys.cu")], constants, SMALL, (rows, extra))
    }

    fn queries_kernel(&self) -> Kernel {
        let mut constants = SMALL.constants(self.head_dim);
        constants.push(("FRESH", 0));
        let rows = (2 * (SMALL.queries + SMALL.keys), WALK);
        self.kernel("attention_backward_queries", vec![include_str!("backward_queries.cu")], constants, SMALL, rows)
    }

    fn stats_kernel(&self) -> Kernel {
        self.row_kernel("attention_stats", include_str!("stats.cu"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tiling::{FEW, FORWARD};
    use super::*;

    /// Compute capability 8.6, 8.9 and 12 give a block 99 KiB.
    #[test]
    fn every_gpu_has_room_for_a_backward_pass() {
        let small = 99 << 10;
        for op in (16..=128).step_by(16).map(|head_dim| Attention { head_dim }) {
            assert_eq!(op.backward_passes(163 << 10, false), Passes::Backward);
            assert_eq!(op.backward_passes(163 << 10, true), Passes::Deterministic);
            assert_eq!(op.backward_passes(small, false) == Passes::Backward, op.head_dim <= 64, "{}", op.head_dim);
            let too_large = op.backward_kernels().into_iter().filter(|kernel| kernel.shared > small);
            assert!(too_large.into_iter().all(|kernel| kernel.entry == "attention_backward"));
            for tiling in [FORWARD, SMALL, FEW] {
                assert!(op.forward_kernel(tiling, true).shared <= small);
            }
        }
    }
}
