//! Attention on a GPU: bf16 queries, keys, values, outputs and gradients, f32 log-sum-exps, tensor cores.
//!
//! One kernel serves every pattern: what is visible reaches it as lists ([`Visible`]).

mod lists;

use self::lists::{Lists, Row, Run};
use super::{Mask, Shape};
use crate::cuda::driver::{Address, Driver, Result};
use crate::cuda::runtime::{Memory, Queue, Region};
use crate::cuda::source::{Compiler, Source};
use crate::cuda::{Budget, Kernel, params};

/// The kernels for one head size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attention {
    /// D, a multiple of 16, at most 128.
    pub head_dim: usize,
}

/// Rows of the tiles of a kernel, and how its block is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tiling {
    queries: usize,
    keys: usize,
    warps: usize,
    /// Blocks that share a multiprocessor.
    blocks: u32,
}

impl Tiling {
    fn constants(&self, head_dim: usize) -> Vec<(&'static str, i64)> {
        let numbers = [("HEAD_DIM", head_dim), ("QUERIES", self.queries), ("KEYS", self.keys), ("WARPS", self.warps)];
        let numbers = numbers.into_iter().chain([("BLOCKS", self.blocks as usize)]);
        numbers.map(|(name, value)| (name, value as i64)).collect()
    }

    /// Bytes of a tile's rows in shared memory.
    fn bytes(rows: usize, head_dim: usize) -> usize {
        2 * rows * (head_dim + 8)
    }
}

/// Which tiles and pairs are visible in a call, in device memory: made once for a mask, it serves every call under it.
#[derive(Debug)]
pub struct Visible<D: Driver> {
    shape: Shape,
    lists: Memory<D>,
    /// Where the parts of `lists` begin.
    places: Places,
}

/// Byte offsets.
#[derive(Clone, Copy, Debug, Default)]
struct Places {
    list_of: u64,
    rows: u64,
    key_first: u64,
    key_runs: u64,
}

params! {
    struct Forward {
        q: Address,
        k: Address,
        v: Address,
        out: Address,
        lse: Address,
        list_of: Address,
        first: Address,
        runs: Address,
        seen: Address,
        queries: u32,
        heads: u32,
        group: u32,
        parts: u32,
        scale: f32,
        scale_log2: f32,
    }
}

impl<D: Driver> Visible<D> {
    /// The lists of a mask; `shape.head_dim` is not looked at.
    pub fn new<C: Compiler>(queue: Queue<'_, D, C>, mask: &Mask, shape: &Shape) -> Result<Visible<D>> {
        shape.check(mask);
        assert!(shape.queries.max(shape.keys) < 1 << 31, "kernels: attention over {shape:?} on a GPU");
        let lists = Lists::new(mask, shape, (FORWARD.queries, FORWARD.keys));
        let mut bytes = Vec::new();
        let mut put = |words: &mut dyn Iterator<Item = u32>| {
            bytes.resize(bytes.len().next_multiple_of(16), 0u8);
            let at = bytes.len() as u64;
            bytes.extend(words.flat_map(u32::to_le_bytes));
            at
        };
        let run = |run: &Run| [run.at, run.step, run.count, run.len];
        let places = Places {
            list_of: put(&mut lists.list_of.iter().copied()),
            rows: put(&mut lists.rows.iter().copied().flat_map(|row: Row| row)),
            key_first: put(&mut lists.keys.first.iter().copied()),
            key_runs: put(&mut lists.keys.runs.iter().flat_map(run)),
        };
        let memory = queue.runtime().memory(bytes.len() as u64)?;
        memory.write(queue.stream(), &bytes)?;
        Ok(Visible { shape: *shape, lists: memory, places })
    }

    fn at(&self, offset: u64) -> Address {
        self.lists.from(offset).need("lists", 0)
    }
}

/// The forward pass: 128 queries, two 16-row tiles a warp, against 64 keys (Dao 2023, §3.3: as many queries as registers
/// hold, so that keys and values are read from shared memory least often).
const FORWARD: Tiling = Tiling { queries: 128, keys: 64, warps: 4, blocks: 2 };

impl Attention {
    /// Every kernel.
    pub fn kernels(&self) -> Vec<Kernel> {
        [false, true].map(|partial| self.forward_kernel(partial)).to_vec()
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
        let numbers = visible.shape.queries * visible.shape.heads;
        let to = (out.need("out", 2 * numbers * self.head_dim), lse.need("lse", 4 * numbers));
        self.launch_forward(queue, visible, scale, inputs, to, None)
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
        let params = Forward {
            q: q.need("q", 2 * queries * heads * self.head_dim),
            k: k.need("k", of_keys),
            v: v.need("v", of_keys),
            out,
            lse,
            list_of: visible.at(visible.places.list_of),
            first: visible.at(visible.places.key_first),
            runs: visible.at(visible.places.key_runs),
            seen: visible.at(visible.places.rows),
            queries: queries as u32,
            heads: heads as u32,
            group: (heads / kv_heads) as u32,
            parts: parts.unwrap_or(1),
            scale,
            scale_log2: scale * std::f32::consts::LOG2_E,
        };
        let grid = [queries.div_ceil(FORWARD.queries) as u32, heads as u32, params.parts];
        // SAFETY: the tensors have the sizes of the shape that the lists were made for.
        unsafe { queue.launch(&self.forward_kernel(parts.is_some()), grid, &params) }
    }

    fn forward_kernel(&self, partial: bool) -> Kernel {
        let mut constants = FORWARD.constants(self.head_dim);
        let row_tiles = FORWARD.queries / (16 * FORWARD.warps);
        constants.extend([("ROW_TILES", row_tiles as i64), ("PARTIAL", partial.into())]);
        let rows = FORWARD.queries + 2 * FORWARD.keys;
        self.kernel("attention_forward", include_str!("forward.cu"), constants, FORWARD, rows)
    }

    fn kernel(
        &self,
        entry: &'static str,
        text: &'static str,
        constants: Vec<(&'static str, i64)>,
        tiling: Tiling,
        rows: usize,
    ) -> Kernel {
        let head_dim = self.head_dim;
        assert!((16..=128).contains(&head_dim) && head_dim.is_multiple_of(16), "kernels: heads of {head_dim} on a GPU");
        let source = Source { file: "attention.cu", texts: vec![include_str!("attention.cuh"), text], constants };
        let shared = Tiling::bytes(rows, head_dim) as u32;
        let budget = Budget { blocks: tiling.blocks };
        Kernel { source, entry, threads: 32 * tiling.warps as u32, shared, budget }
    }
}
