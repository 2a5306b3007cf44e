//! Attention on a GPU: bf16 queries, keys, values, outputs and gradients, f32 log-sum-exps, tensor cores.
//!
//! One kernel serves every pattern: what is visible reaches it as lists ([`Visible`]).

mod hopper;
mod lists;

use self::lists::{Lists, Ragged, Row, Run};
use super::{Mask, Shape};
use crate::cuda::driver::{Address, Driver, Result};
use crate::cuda::runtime::{Memory, Queue, Region};
use crate::cuda::source::{Compiler, Source};
use crate::cuda::{Budget, Kernel, blocks, params};

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

/// Bytes of `Walk` of attention.cuh.
const WALK: usize = 32;

/// Which tiles and pairs are visible in a call, in device memory: made once for a mask, it serves every call under it.
#[derive(Debug)]
pub struct Visible<D: Driver> {
    shape: Shape,
    passes: Passes,
    /// Whether the forward pass is that of compute capability 9.0, whose tiles are larger.
    hopper: bool,
    lists: Memory<D>,
    /// Where the parts of `lists` begin.
    places: Places,
}

/// Byte offsets.
#[derive(Clone, Copy, Debug, Default)]
struct Places {
    list_of: u64,
    rows: u64,
    forward: [u64; 2],
    small: [u64; 2],
    backward_keys: [u64; 2],
}

/// What lists are made for, since tiles differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passes {
    /// [`Attention::forward`].
    Forward,
    /// [`Attention::forward_split`].
    Split,
    /// Everything: a backward pass will follow.
    Both,
}

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

params! {
    struct Stats {
        out: Address,
        dout: Address,
        lse: Address,
        stats: Address,
        rows: u64,
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

impl<D: Driver> Visible<D> {
    /// The lists of a mask.
    pub fn new<C: Compiler>(queue: Queue<'_, D, C>, mask: &Mask, shape: &Shape, passes: Passes) -> Result<Visible<D>> {
        shape.check(mask);
        assert!(shape.queries.max(shape.keys) < 1 << 31, "kernels: attention over {shape:?} on a GPU");
        let (mut image, mut places) = (Image::default(), Places::default());
        let hopper = queue.runtime().hopper() && hopper::knows(shape.head_dim);
        if passes != Passes::Split {
            let tiling = if hopper { hopper::TILING } else { FORWARD };
            let lists = Lists::new(mask, shape, (tiling.queries, tiling.keys));
            places.forward = image.put_ragged(lists.keys);
            image.put_rows(&mut places, lists.list_of, lists.rows);
        }
        if passes != Passes::Forward {
            let lists = Lists::new(mask, shape, (SMALL.queries, SMALL.keys));
            places.small = image.put_ragged(lists.keys);
            if passes == Passes::Both {
                places.backward_keys = image.put_ragged(lists.queries);
            } else {
                image.put_rows(&mut places, lists.list_of, lists.rows);
            }
        }
        let lists = queue.runtime().memory(image.0.len() as u64)?;
        lists.write(queue.stream(), &image.0)?;
        Ok(Visible { shape: *shape, passes, hopper, lists, places })
    }

    /// Which list a head has, where the runs of a place begin, the runs, the rows.
    fn lists(&self, [first, runs]: [u64; 2]) -> [Address; 4] {
        [self.places.list_of, first, runs, self.places.rows].map(|offset| self.at(offset))
    }

    fn at(&self, offset: u64) -> Address {
        self.lists.from(offset).need("lists", 0)
    }
}

/// What lies in the memory of the lists; every part begins at a multiple of 16.
#[derive(Default)]
struct Image(Vec<u8>);

impl Image {
    fn put(&mut self, words: impl IntoIterator<Item = u32>) -> u64 {
        self.0.resize(self.0.len().next_multiple_of(16), 0);
        let at = self.0.len() as u64;
        self.0.extend(words.into_iter().flat_map(u32::to_le_bytes));
        at
    }

    fn put_rows(&mut self, places: &mut Places, list_of: Vec<u32>, rows: Vec<Row>) {
        (places.list_of, places.rows) = (self.put(list_of), self.put(rows.into_iter().flatten()));
    }

    fn put_ragged(&mut self, Ragged { first, runs }: Ragged) -> [u64; 2] {
        [self.put(first), self.put(runs.iter().flat_map(|run: &Run| [run.at, run.step, run.count, run.len]))]
    }
}

/// The forward pass: 128 queries, two 16-row tiles a warp, against 64 keys (Dao 2023, §3.3: as many queries as registers
/// hold, so that keys and values are read from shared memory least often).
const FORWARD: Tiling = Tiling { queries: 128, keys: 64, warps: 4, blocks: 2 };
/// Everything else: 64 of each. In the backward pass two gradients of 16 rows and two tiles of scores fit a warp's registers; a
/// split pass has few queries.
const SMALL: Tiling = Tiling { queries: 64, keys: 64, warps: 4, blocks: 2 };
/// Threads of the kernels that go over rows.
const ROW_THREADS: usize = 128;

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

impl Attention {
    /// Every kernel.
    pub fn kernels(&self) -> Vec<Kernel> {
        let mut kernels = [false, true].map(|partial| self.forward_kernel(partial)).to_vec();
        kernels.extend(hopper::knows(self.head_dim).then(|| self.hopper_kernel()));
        kernels.extend([self.keys_kernel(), self.queries_kernel(), self.stats_kernel()]);
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
        if visible.hopper {
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
        assert!(visible.passes != Passes::Forward, "kernels: these lists were not made for a split pass");
        let rows = visible.shape.queries * visible.shape.heads;
        let outs = scratch.need("scratch", self.split_bytes(&visible.shape, parts) as usize);
        let lses = outs.plus((4 * parts * rows * self.head_dim) as u64);
        self.launch_forward(queue, visible, scale, inputs, (outs, lses), Some(parts as u32))?;
        let (out, lse) = (out.need("out", 2 * rows * self.head_dim), lse.need("lse", 4 * rows));
        let params = Combine { outs, lses, out, lse, rows: rows as u64, parts: parts as u64 };
        // SAFETY: the partial results are what was just written, the results have the shape's size.
        unsafe { queue.launch(&self.merge_kernel("attention_combine"), self.row_grid(rows), &params) }
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

    /// Overwrites `dq`, `dk`, `dv`, bf16 of the shapes of queries, keys and values, the same bits every time. `stats` holds
    /// [`Attention::stats_bytes`].
    pub fn backward<D: Driver, C: Compiler>(
        &self,
        queue: Queue<'_, D, C>,
        visible: &Visible<D>,
        scale: f32,
        saved: Saved<'_>,
        [dq, dk, dv]: [Region<'_>; 3],
        stats: Region<'_>,
    ) -> Result<()> {
        assert!(visible.passes == Passes::Both, "kernels: these lists were made for a forward pass alone");
        assert!(scale > 0.0, "kernels: attention's scale is {scale}");
        let Shape { queries, keys, heads, kv_heads, .. } = visible.shape;
        let (of_queries, of_keys) = (2 * queries * heads * self.head_dim, 2 * keys * kv_heads * self.head_dim);
        let stats = stats.need("stats", self.stats_bytes(&visible.shape) as usize);
        let dout = saved.dout.need("dout", of_queries);
        let tensors = [saved.q.need("q", of_queries), saved.k.need("k", of_keys), saved.v.need("v", of_keys), dout];
        let (scale_log2, group) = (scale * std::f32::consts::LOG2_E, heads / kv_heads);

        let (out, lse) = (saved.out.need("out", of_queries), saved.lse.need("lse", 4 * queries * heads));
        let params = Stats { out, dout, lse, stats, rows: (queries * heads) as u64 };
        // SAFETY: one row of output, gradient and log-sum-exp for each query and head.
        unsafe { queue.launch(&self.stats_kernel(), self.row_grid(queries * heads), &params)? };

        let params = BackwardKeys {
            tensors,
            stats,
            dk: dk.need("dk", of_keys),
            dv: dv.need("dv", of_keys),
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
            dq: dq.need("dq", of_queries),
            lists: visible.lists(visible.places.small),
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

    /// Bytes of what the backward pass notes of each query and head.
    pub fn stats_bytes(&self, shape: &Shape) -> u64 {
        (8 * shape.queries * shape.heads) as u64
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
            lists: visible.lists(if parts.is_some() { visible.places.small } else { visible.places.forward }),
            queries: queries as u32,
            heads: heads as u32,
            group: (heads / kv_heads) as u32,
            parts: parts.unwrap_or(1),
            scale,
            scale_log2: scale * std::f32::consts::LOG2_E,
        };
        let tiling = if parts.is_some() { SMALL } else { FORWARD };
        let grid = [queries.div_ceil(tiling.queries) as u32, heads as u32, params.parts];
        // SAFETY: the tensors have the sizes of the shape that the lists were made for.
        unsafe { queue.launch(&self.forward_kernel(parts.is_some()), grid, &params) }
    }

    fn forward_kernel(&self, partial: bool) -> Kernel {
        let tiling = if partial { SMALL } else { FORWARD };
        let mut constants = tiling.constants(self.head_dim);
        let row_tiles = tiling.queries / (16 * tiling.warps);
        constants.extend([("ROW_TILES", row_tiles as i64), ("PARTIAL", partial.into()), ("FRESH", 0)]);
        let rows = tiling.queries + 2 * tiling.keys;
        // A word of visible pairs for each thread and 16-row tile.
        let extra = WALK + 4 * 32 * tiling.warps * row_tiles;
        self.kernel("attention_forward", include_str!("forward.cu"), constants, tiling, (rows, extra))
    }

    fn keys_kernel(&self) -> Kernel {
        let mut constants = SMALL.constants(self.head_dim);
        constants.push(("FRESH", 1));
        let rows = 2 * (SMALL.queries + SMALL.keys);
        // Two numbers of each query, in turns, and a word of visible pairs for each thread.
        let extra = WALK + 2 * 8 * SMALL.queries + 4 * 32 * SMALL.warps;
        self.kernel("attention_backward_keys", include_str!("backward_keys.cu"), constants, SMALL, (rows, extra))
    }

    fn queries_kernel(&self) -> Kernel {
        let mut constants = SMALL.constants(self.head_dim);
        constants.push(("FRESH", 0));
        let rows = (2 * (SMALL.queries + SMALL.keys), WALK);
        self.kernel("attention_backward_queries", include_str!("backward_queries.cu"), constants, SMALL, rows)
    }

    fn stats_kernel(&self) -> Kernel {
        self.row_kernel("attention_stats", include_str!("stats.cu"))
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
        text: &'static str,
        constants: Vec<(&'static str, i64)>,
        tiling: Tiling,
        (rows, extra): (usize, usize),
    ) -> Kernel {
        let head_dim = self.head_dim;
        assert!((16..=128).contains(&head_dim) && head_dim.is_multiple_of(16), "kernels: heads of {head_dim} on a GPU");
        let source = Source { file: "attention.cu", texts: vec![include_str!("attention.cuh"), text], constants };
        let shared = (Tiling::bytes(rows, head_dim) + extra) as u32;
        let budget = Budget { blocks: tiling.blocks };
        Kernel { source, entry, threads: 32 * tiling.warps as u32, shared, budget }
    }
}
