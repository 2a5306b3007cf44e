//! Backward: one task per key/value head and pair of a chunk of keys with a chunk of queries.
//!
//! A task adds to the gradients of its keys and of its queries. The pairs run in rounds, in round `r` key chunk `c` meets
//! query chunk `c + r`, so that no two tasks of a round write to the same place and every sum has one fixed order.

use super::super::blocks::{Blocks, QueryBlock};
use super::tile::{Head, Visible};
use super::{Inputs, Mask, Shape};
use crate::simd::leaves::{Leaves, Product};
use crate::simd::scratch::with_scratch;
use crate::simd::{Isa, SendPtr};
use rayon::prelude::*;
use std::f32::consts::{LN_2, LOG2_E};
use std::ops::Range;

/// Queries of a block.
const LANES: usize = 32;
/// Keys of a tile.
const KEYS: usize = 64;
/// A sequence is cut into about this many chunks, so that there is work for many threads,
const CHUNKS: usize = 16;
/// of at least this many rows, or packing them costs too much,
const MIN_CHUNK: usize = 256;
/// and of at most this many values, or keys, values and their gradients leave the cache.
const CHUNK_VALUES: usize = 1 << 15;

/// What the forward pass left, and the gradient that comes in.
struct Upstream<'a> {
    lse: &'a [f32],
    dout: &'a [f32],
    /// `Σ out · dout`, `[queries, H]`.
    delta: &'a [f32],
}

/// Where the gradients go.
#[derive(Clone, Copy)]
struct Gradients {
    dq: SendPtr,
    dk: SendPtr,
    dv: SendPtr,
}

#[allow(clippy::too_many_arguments, reason = "mirrors the contract")]
pub(crate) fn backward(
    isa: Isa,
    shape: &Shape,
    mask: &Mask,
    scale: f32,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    out: &[f32],
    lse: &[f32],
    dout: &[f32],
    dq: &mut [f32],
    dk: &mut [f32],
    dv: &mut [f32],
) {
    let inputs = Inputs { shape, mask, scale, q, k, v };
    let blocks = Blocks::new(mask, shape, LANES);
    let leaves = Leaves::of(isa);
    let mut delta = vec![0.0; lse.len()];
    let clear = || [&mut *dq, &mut *dk, &mut *dv].into_par_iter().for_each(|gradient| gradient.fill(0.0));
    rayon::join(clear, || dots(shape.head_dim, out, dout, &mut delta));
    let gradients = Gradients { dq: SendPtr::new(dq), dk: SendPtr::new(dk), dv: SendPtr::new(dv) };
    let upstream = Upstream { lse, dout, delta: &delta };
    for round in rounds(&inputs, &blocks) {
        round.into_par_iter().with_max_len(1).for_each(|pair| {
            Task { leaves, inputs: &inputs, upstream: &upstream, gradients, blocks: &blocks, pair }.run();
        });
    }
}

/// The dot products of the rows of two tensors.
fn dots(dim: usize, a: &[f32], b: &[f32], to: &mut [f32]) {
    let rows = a.par_chunks_exact(dim.max(1)).zip(b.par_chunks_exact(dim.max(1))).zip(to);
    rows.with_min_len(256).for_each(|((a, b), to)| *to = a.iter().zip(b).map(|(a, b)| a * b).sum());
}

/// A chunk of keys, cut to what is visited, and the query blocks of a chunk of queries, for one key/value head.
struct Pair {
    keys: Range<usize>,
    blocks: Range<usize>,
    kv_head: usize,
}

/// The rounds, each a list of pairs that share no chunk; pairs that see nothing of each other are left out.
fn rounds(inputs: &Inputs, blocks: &Blocks) -> Vec<Vec<Pair>> {
    let shape = inputs.shape;
    let longest = shape.queries.max(shape.keys);
    let most = (CHUNK_VALUES / shape.head_dim.max(1)).max(MIN_CHUNK);
    let chunk = longest.div_ceil(CHUNKS).clamp(MIN_CHUNK, most).next_multiple_of(KEYS);
    let count = longest.div_ceil(chunk);
    let pair = |key_chunk: usize, round: usize, kv_head: usize| {
        let keys = key_chunk * chunk..shape.keys.min((key_chunk + 1) * chunk);
        let first = (key_chunk + round) % count * (chunk / LANES);
        let blocks_of_chunk = first..blocks.count().min(first + chunk / LANES);
        let lists = blocks.lists_of(inputs.readers(kv_head)).filter_map(|list| list.get(blocks_of_chunk.clone()));
        let visited = lists.flatten().filter_map(|block| block.visited(&keys));
        let keys = visited.reduce(|a, b| a.start.min(b.start)..a.end.max(b.end))?;
        Some(Pair { keys, blocks: blocks_of_chunk, kv_head })
    };
    let key_chunks = shape.keys.div_ceil(chunk);
    let all = |round| (0..key_chunks * shape.kv_heads).map(move |i| (i / shape.kv_heads, round, i % shape.kv_heads));
    (0..count).map(|round| all(round).filter_map(|(c, round, head)| pair(c, round, head)).collect()).collect()
}

struct Task<'a> {
    leaves: &'a Leaves,
    inputs: &'a Inputs<'a>,
    upstream: &'a Upstream<'a>,
    gradients: Gradients,
    blocks: &'a Blocks,
    pair: Pair,
}

/// The keys of a task and the sums of their gradients, `[keys, padded dim]`.
struct KeySide<'a> {
    keys: Range<usize>,
    k: &'a [f32],
    v: &'a [f32],
    dk: &'a mut [f32],
    dv: &'a mut [f32],
}

/// A block of queries in both layouts.
struct QuerySide<'a> {
    /// `scale · log₂e · q`, `[LANES, padded dim]` and `[dim, LANES]`.
    q: &'a mut [f32],
    q_turned: &'a mut [f32],
    dout: &'a mut [f32],
    dout_turned: &'a mut [f32],
    /// Log-sum-exp in units of log 2, `+∞` where nothing is to be seen: `2^(s − ∞) = 0`.
    lse: &'a mut [f32],
    delta: &'a mut [f32],
    /// `dq / scale`, `[LANES, padded dim]`.
    dq: &'a mut [f32],
}

impl Task<'_> {
    fn run(&self) {
        let pair = &self.pair;
        let (dim, padded) = (self.inputs.shape.head_dim, self.inputs.padded_dim());
        let (key_len, query_len) = (pair.keys.len() * padded, LANES * padded);
        let tile = KEYS * LANES;
        let sizes = [
            key_len, key_len, key_len, key_len, query_len, query_len, query_len, query_len, query_len, LANES, LANES,
            tile, tile,
        ];
        with_scratch(sizes, |[k, v, dk, dv, q, q_turned, dout, dout_turned, dq, lse, delta, scores, dp]| {
            let head = Head::new(self.inputs.shape.kv_heads, pair.kv_head, dim);
            head.copy(self.inputs.k, pair.keys.clone(), 1.0, padded, k);
            head.copy(self.inputs.v, pair.keys.clone(), 1.0, padded, v);
            dk.fill(0.0);
            dv.fill(0.0);
            let mut keys = KeySide { keys: pair.keys.clone(), k, v, dk, dv };
            let mut queries = QuerySide { q, q_turned, dout, dout_turned, lse, delta, dq };
            for (block, head) in self.visits() {
                queries.fill(self, block, head);
                self.block((block, head), &mut keys, &mut queries, scores, dp);
                self.add_dq(block, head, queries.dq);
            }
            self.add_key_gradients(&keys);
        });
    }

    /// The query blocks that see any of the keys; heads of one block, neighbours in memory, follow each other.
    fn visits(&self) -> impl Iterator<Item = (&QueryBlock, usize)> {
        let readers = self.inputs.readers(self.pair.kv_head);
        let heads = self.pair.blocks.clone().flat_map(move |block| readers.clone().map(move |head| (block, head)));
        let visits = heads.map(|(block, head)| (&self.blocks.of(head)[block], head));
        visits.filter(|(block, _)| block.visited(&self.pair.keys).is_some())
    }

    /// One block of queries against all tiles of the task's keys.
    fn block(
        &self,
        (block, head): (&QueryBlock, usize),
        keys: &mut KeySide,
        queries: &mut QuerySide,
        scores: &mut [f32],
        dp: &mut [f32],
    ) {
        let shape = self.inputs.shape;
        let visible = Visible::<LANES>::new(self.inputs.mask, shape.keys, |lane| Some((block.query(lane)?, head)));
        queries.dq.fill(0.0);
        for tile in block.tiles(keys.keys.clone(), KEYS) {
            let (scores, dp) = (&mut scores[..tile.len() * LANES], &mut dp[..tile.len() * LANES]);
            let rows = (tile.start - keys.keys.start) * self.inputs.padded_dim();
            self.scores(&keys.k[rows..], queries.q_turned, scores);
            self.scores(&keys.v[rows..], queries.dout_turned, dp);
            visible.hide(self.leaves, block, &tile, scores);
            self.leaves.gradient(scores, dp, LANES, queries.lse, queries.delta);
            self.add_to_keys(scores, queries.dout, &mut keys.dv[rows..]);
            self.add_to_keys(dp, queries.q, &mut keys.dk[rows..]);
            self.add_to_queries(dp, &keys.k[rows..], queries.dq);
        }
    }

    /// `[tile keys, LANES] = rows · turned`.
    fn scores(&self, rows: &[f32], turned: &[f32], to: &mut [f32]) {
        self.leaves.product(Product {
            rows: to.len() / LANES,
            cols: LANES,
            depth: self.inputs.shape.head_dim,
            a: rows,
            a_strides: (self.inputs.padded_dim(), 1),
            b: turned,
            b_stride: LANES,
            c: to,
            c_stride: LANES,
            add: false,
        });
    }

    /// `[tile keys, padded dim] += tile · rows of the queries`.
    fn add_to_keys(&self, tile: &[f32], rows: &[f32], to: &mut [f32]) {
        let padded = self.inputs.padded_dim();
        self.leaves.product(Product {
            rows: tile.len() / LANES,
            cols: padded,
            depth: LANES,
            a: tile,
            a_strides: (LANES, 1),
            b: rows,
            b_stride: padded,
            c: to,
            c_stride: padded,
            add: true,
        });
    }

    /// `[LANES, padded dim] += tileᵀ · rows of the keys`.
    fn add_to_queries(&self, tile: &[f32], rows: &[f32], to: &mut [f32]) {
        let padded = self.inputs.padded_dim();
        self.leaves.product(Product {
            rows: LANES,
            cols: padded,
            depth: tile.len() / LANES,
            a: tile,
            a_strides: (1, LANES),
            b: rows,
            b_stride: padded,
            c: to,
            c_stride: padded,
            add: true,
        });
    }

    fn add_dq(&self, block: &QueryBlock, head: usize, dq: &[f32]) {
        let rows = Head::new(self.inputs.shape.heads, head, self.inputs.shape.head_dim);
        self.add_rows(self.gradients.dq, rows, block.queries.clone(), dq, self.inputs.scale);
    }

    fn add_key_gradients(&self, keys: &KeySide) {
        let rows = Head::new(self.inputs.shape.kv_heads, self.pair.kv_head, self.inputs.shape.head_dim);
        // The queries carried scale · log₂e.
        self.add_rows(self.gradients.dk, rows, keys.keys.clone(), keys.dk, LN_2);
        self.add_rows(self.gradients.dv, rows, keys.keys.clone(), keys.dv, 1.0);
    }

    fn add_rows(&self, to: SendPtr, head: Head, rows: Range<usize>, from: &[f32], factor: f32) {
        for (row, from) in rows.zip(from.chunks_exact(self.inputs.padded_dim())) {
            // SAFETY: in this round no other task has this head of this chunk.
            let to = unsafe { to.slice(head.at(row), self.inputs.shape.head_dim) };
            to.iter_mut().zip(from).for_each(|(to, from)| *to += from * factor);
        }
    }
}

impl QuerySide<'_> {
    fn fill(&mut self, task: &Task, block: &QueryBlock, head: usize) {
        let (inputs, upstream) = (task.inputs, task.upstream);
        let (dim, padded, rows) = (inputs.shape.head_dim, inputs.padded_dim(), block.queries.len());
        let at = Head::new(inputs.shape.heads, head, dim);
        at.copy(inputs.q, block.queries.clone(), inputs.scale * LOG2_E, padded, self.q);
        at.copy(upstream.dout, block.queries.clone(), 1.0, padded, self.dout);
        self.q[rows * padded..].fill(0.0);
        self.dout[rows * padded..].fill(0.0);
        task.leaves.transpose(self.q, padded, self.q_turned, LANES);
        task.leaves.transpose(self.dout, padded, self.dout_turned, LANES);
        self.lse.fill(f32::INFINITY);
        self.delta.fill(0.0);
        for (lane, query) in block.queries.clone().enumerate() {
            let row = query * inputs.shape.heads + head;
            if upstream.lse[row] != f32::NEG_INFINITY {
                self.lse[lane] = upstream.lse[row] * LOG2_E;
            }
            self.delta[lane] = upstream.delta[row];
        }
    }
}
