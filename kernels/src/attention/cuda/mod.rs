//! Attention on a GPU: bf16 queries, keys, values, outputs and gradients, f32 log-sum-exps, tensor cores.
//!
//! One kernel serves every pattern: what is visible reaches it as lists ([`Visible`]).

mod backward;
mod hopper;
mod lists;
mod tiling;
mod visible;

pub use self::backward::Saved;
pub use self::visible::{Passes, Visible};

use self::tiling::{FEW, FORWARD, SMALL, Tiling, has_hopper};
use self::visible::Packing;
use super::Shape;
use crate::cuda::driver::{Address, Driver, Result};
use crate::cuda::runtime::{Queue, Region};
use crate::cuda::source::{Compiler, Source};
use crate::cuda::{Budget, Kernel, blocks, params};

/// The kernels for one head size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attention {
    /// D, a multiple of 16, at most 128.
    pub head_dim: usize,
}

/// Bytes of `Walk` of attention.cuh.
const WALK: usize = 32;

params! {
    struct Forward {
        q: Address,
        k: Address,
        v: Address,
        out: Address,
        lse: Address,
        lists: [Address; 4],
        queries: u32,
        heads: u32,
        group: u32,
        parts: u32,
        scale: f32,
        scale_log2: f32,
        pack: u64,
    }
}

params! {
    struct Combine {
        outs: Address,
        lses: Address,
        out: Address,
        lse: Address,
        rows: u64,
        parts: u64,
    }
}

params! {
    struct Merge {
        out: Address,
        lse: Address,
        other_out: Address,
        other_lse: Address,
        rows: u64,
    }
}

/// Key tiles of a part of a split pass at least.
const PART: usize = 4;
/// Threads of the kernels that go over rows.
const ROW_THREADS: usize = 128;

impl Attention {
    /// Every kernel.
    pub fn kernels(&self) -> Vec<Kernel> {
        let mut kernels = vec![self.forward_kernel(FORWARD, false)];
        kernels.extend([SMALL, FEW].map(|tiling| self.forward_kernel(tiling, true)));
        kernels.extend(has_hopper(self.head_dim).then(|| self.hopper_kernels()).into_iter().flatten());
        kernels.extend(self.backward_kernels());
        kernels.extend(["attention_combine", "attention_merge"].map(|entry| self.merge_kernel(entry)));
        kernels
    }

    /// `out` bf16 `[queries, H, D]` and `lse` f32 `[queries, H]` as [`super::forward`] defines them; `scale` is positive.
    pub fn forward<D: Driver, C: Compiler>(
        &self,
        queue: Queue<'_, D, C>,
        visible: &Visible<D>,
        scale: f32,
        inputs: [Region<'_>; 3],
        (out, lse): (Region<'_>, Region<'_>),
    ) -> Result<()> {
        assert!(visible.passes != Passes::Split, "kernels: these lists were made for a split pass alone");
        let numbers = visible.shape.queries * visible.shape.heads;
        let to = (out.need("out", 2 * numbers * self.head_dim), lse.need("lse", 4 * numbers));
        if visible.hopper.forward {
            return self.launch_hopper(queue, visible, scale, inputs, to);
        }
        self.launch_forward(queue, visible, scale, inputs, to, None)
    }

    /// As [`Attention::forward`], with the visible keys of every query cut into `parts` that run beside each other: for few
    /// queries against many keys. `scratch` holds [`Attention::split_bytes`].
    pub fn forward_split<D: Driver, C: Compiler>(
        &self,
        queue: Queue<'_, D, C>,
        visible: &Visible<D>,
        scale: f32,
        inputs: [Region<'_>; 3],
        (out, lse): (Region<'_>, Region<'_>),
        (parts, scratch): (usize, Region<'_>),
    ) -> Result<()> {
        assert!(visible.passes == Passes::Split, "kernels: these lists were not made for a split pass");
        let rows = visible.shape.queries * visible.shape.heads;
        let outs = scratch.need("scratch", self.split_bytes(&visible.shape, parts) as usize);
        let lses = outs.plus((4 * parts * rows * self.head_dim) as u64);
        self.launch_forward(queue, visible, scale, inputs, (outs, lses), Some(parts as u32))?;
        let (out, lse) = (out.need("out", 2 * rows * self.head_dim), lse.need("lse", 4 * rows));
        let params = Combine { outs, lses, out, lse, rows: rows as u64, parts: parts as u64 };
        // SAFETY: the partial results are what was just written, the results have the shape's size.
        unsafe { queue.launch(&self.merge_kernel("attention_combine"), self.row_grid(rows), &params) }
    }

    /// How many parts of a call fill a GPU of so many multiprocessors, of 256 keys at least.
    pub fn parts<D: Driver>(&self, visible: &Visible<D>, multiprocessors: usize) -> usize {
        let slots = multiprocessors * visible.packing.tiling.blocks as usize;
        (slots / visible.blocks().max(1)).min(visible.key_tiles / PART).max(1)
    }

    /// Bytes of the partial results of [`Attention::forward_split`].
    pub fn split_bytes(&self, shape: &Shape, parts: usize) -> u64 {
        (4 * parts * shape.queries * shape.heads * (self.head_dim + 1)) as u64
    }

    /// Makes `into` the attention over the keys of both, as [`super::merge`] does: outputs bf16 `[rows, D]`, log-sum-exps f32
    /// `[rows]`.
    pub fn merge<D: Driver, C: Compiler>(
        &self,
        queue: Queue<'_, D, C>,
        rows: usize,
        into: (Region<'_>, Region<'_>),
        other: (Region<'_>, Region<'_>),
    ) -> Result<()> {
        let out = |out: Region<'_>| out.need("out", 2 * rows * self.head_dim);
        let lse = |lse: Region<'_>| lse.need("lse", 4 * rows);
        let (other_out, other_lse) = (out(other.0), lse(other.1));
        let params = Merge { out: out(into.0), lse: lse(into.1), other_out, other_lse, rows: rows as u64 };
        // SAFETY: all hold `rows` rows.
        unsafe { queue.launch(&self.merge_kernel("attention_merge"), self.row_grid(rows), &params) }
    }

    fn launch_forward<D: Driver, C: Compiler>(
        &self,
        queue: Queue<'_, D, C>,
        visible: &Visible<D>,
        scale: f32,
        [q, k, v]: [Region<'_>; 3],
        (out, lse): (Address, Address),
        parts: Option<u32>,
    ) -> Result<()> {
        assert!(scale > 0.0, "kernels: attention's scale is {scale}");
        let Shape { queries, keys, heads, kv_heads, .. } = visible.shape;
        let of_keys = 2 * keys * kv_heads * self.head_dim;
        let (place, packing) = match parts {
            Some(_) => (visible.places.split, visible.packing),
            None => (visible.places.forward, Packing { tiling: FORWARD, heads: 1 }),
        };
        let params = Forward {
            q: q.need("q", 2 * queries * heads * self.head_dim),
            k: k.need("k", of_keys),
            v: v.need("v", of_keys),
            out,
            lse,
            lists: visible.lists(place),
            queries: queries as u32,
            heads: heads as u32,
            group: (heads / kv_heads) as u32,
            parts: parts.unwrap_or(1),
            scale,
            scale_log2: scale * std::f32::consts::LOG2_E,
            pack: packing.heads as u64,
        };
        let grid = [queries.div_ceil(packing.queries()) as u32, (heads / packing.heads) as u32, params.parts];
        // SAFETY: the tensors have the sizes of the shape that the lists were made for.
        unsafe { queue.launch(&self.forward_kernel(packing.tiling, parts.is_some()), grid, &params) }
    }

    fn forward_kernel(&self, tiling: Tiling, partial: bool) -> Kernel {
        let mut constants = tiling.constants(self.head_dim);
        let row_tiles = tiling.queries / (16 * tiling.warps);
        constants.extend([("ROW_TILES", row_tiles as i64), ("PARTIAL", partial.into()), ("FRESH", 0)]);
        let rows = tiling.queries + 2 * tiling.keys;
        // A word of visible pairs for each thread and 16-row tile.
        let extra = WALK + 4 * 32 * tiling.warps * row_tiles;
        self.kernel("attention_forward", vec![include_str!("forward.cu")], constants, tiling, (rows, extra))
    }

    fn merge_kernel(&self, entry: &'static str) -> Kernel {
        self.row_kernel(entry, include_str!("merge.cu"))
    }

    /// A kernel in which some lanes share a row, eight columns each.
    fn row_kernel(&self, entry: &'static str, text: &'static str) -> Kernel {
        let constants = vec![("HEAD_DIM", self.head_dim as i64), ("WARPS", ROW_THREADS as i64 / 32)];
        let source = Source { file: "attention_rows.cu", texts: vec![text], constants };
        Kernel { source, entry, threads: ROW_THREADS as u32, shared: 0, budget: Budget { blocks: 8 } }
    }

    /// The blocks of such a kernel.
    fn row_grid(&self, rows: usize) -> [u32; 3] {
        let lanes = (self.head_dim / 8).next_power_of_two().max(2);
        [blocks((rows * lanes) as u64, ROW_THREADS), 1, 1]
    }

    fn kernel(
        &self,
        entry: &'static str,
        own: Vec<&'static str>,
        constants: Vec<(&'static str, i64)>,
        tiling: Tiling,
        (rows, extra): (usize, usize),
    ) -> Kernel {
        let head_dim = self.head_dim;
        assert!((16..=128).contains(&head_dim) && head_dim.is_multiple_of(16), "kernels: heads of {head_dim} on a GPU");
        let texts = [vec![include_str!("attention.cuh")], own].concat();
        let source = Source { file: "attention.cu", texts, constants };
        let shared = (Tiling::bytes(rows, head_dim) + extra) as u32;
        let budget = Budget { blocks: tiling.blocks };
        Kernel { source, entry, threads: 32 * tiling.warps as u32, shared, budget }
    }
}
