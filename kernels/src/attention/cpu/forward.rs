//! Forward: one task per head and group of neighbouring blocks of queries, which share every tile of keys and values
//! while it is in the cache.

use super::super::blocks::QueryBlock;
use super::packed::Packed;
use super::tile::{Head, Visible};
use super::{Inputs, Mask, Shape};
use crate::simd::leaves::{Lanes, Leaves, Product};
use crate::simd::scratch::with_scratch;
use crate::simd::{Isa, SendPtr};
use rayon::prelude::*;
use std::f32::consts::{LN_2, LOG2_E};
use std::ops::Range;

/// Queries of a block: two registers of the widest set.
const LANES: usize = 32;
/// Keys of a tile.
const KEYS: usize = 128;
/// Blocks of a task in long sequences, and from how many queries on.
const TOGETHER: usize = 4;
const LONG: usize = 2048;

#[allow(clippy::too_many_arguments, reason = "mirrors the contract")]
pub(crate) fn forward(
    isa: Isa,
    shape: &Shape,
    mask: &Mask,
    scale: f32,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    out: &mut [f32],
    lse: &mut [f32],
) {
    let inputs = Inputs { shape, mask, scale, q, k, v };
    let blocks = QueryBlock::all(mask, shape.queries, shape.keys, LANES);
    let task = Task {
        leaves: Leaves::of(isa),
        inputs: &inputs,
        keys: Packed::new(&inputs, k, &blocks),
        values: Packed::new(&inputs, v, &blocks),
        out: SendPtr::new(out),
        lse: SendPtr::new(lse),
    };
    let groups: Vec<&[QueryBlock]> = blocks.chunks(if shape.queries < LONG { 1 } else { TOGETHER }).collect();
    // Late queries see most and go first, so that the threads finish together.
    let tasks = (0..groups.len() * shape.heads).into_par_iter().rev().with_max_len(1);
    tasks.for_each(|i| task.run(groups[i / shape.heads], i % shape.heads));
}

struct Task<'a> {
    leaves: &'a Leaves,
    inputs: &'a Inputs<'a>,
    keys: Packed<'a>,
    values: Packed<'a>,
    out: SendPtr,
    lse: SendPtr,
}

/// One block on its way through the keys.
struct Running<'a> {
    block: &'a QueryBlock,
    visible: Visible<LANES>,
    /// `scale · log₂e · q`, `[padded dim, LANES]`.
    q: &'a mut [f32],
    max: &'a mut [f32],
    sum: &'a mut [f32],
    shrink: &'a mut [f32],
    /// `[LANES, padded dim]`, to be divided by `sum`.
    out: &'a mut [f32],
}

impl Task<'_> {
    fn run(&self, blocks: &[QueryBlock], head: usize) {
        let (count, size) = (blocks.len(), LANES * self.inputs.padded_dim());
        with_scratch([count * size, count * size, count * 3 * LANES, KEYS * LANES], |[q, out, state, scores]| {
            let parts = q.chunks_exact_mut(size).zip(out.chunks_exact_mut(size)).zip(state.chunks_exact_mut(3 * LANES));
            let start = |(block, ((q, out), state))| self.start(block, head, q, out, state);
            let mut running: Vec<Running> = blocks.iter().zip(parts).map(start).collect();
            for tile in common_tiles(blocks) {
                for running in &mut running {
                    for part in running.block.tiles(tile.clone(), KEYS) {
                        self.advance(running, head, &part, scores);
                    }
                }
            }
            running.iter().for_each(|running| self.finish(running, head));
        });
    }

    fn start<'b>(
        &self,
        block: &'b QueryBlock,
        head: usize,
        q: &'b mut [f32],
        out: &'b mut [f32],
        state: &'b mut [f32],
    ) -> Running<'b> {
        let (inputs, padded) = (self.inputs, self.inputs.padded_dim());
        let rows = Head::new(inputs.shape.heads, head, inputs.shape.head_dim);
        rows.copy(inputs.q, block.queries.clone(), inputs.scale * LOG2_E, padded, out);
        self.leaves.transpose(&out[..block.queries.len() * padded], padded, q, LANES);
        out.fill(0.0);
        let (max, rest) = state.split_at_mut(LANES);
        let (sum, shrink) = rest.split_at_mut(LANES);
        max.fill(f32::NEG_INFINITY);
        sum.fill(0.0);
        let visible = Visible::new(inputs.mask, block.queries.clone(), inputs.shape.keys);
        Running { block, visible, q, max, sum, shrink, out }
    }

    /// Takes a tile of keys and values in.
    fn advance(&self, running: &mut Running, head: usize, tile: &Range<usize>, scores: &mut [f32]) {
        let (kv_head, padded) = (head / self.inputs.group(), self.inputs.padded_dim());
        let scores = &mut scores[..tile.len() * LANES];
        self.leaves.product(Product {
            rows: tile.len(),
            cols: LANES,
            depth: self.inputs.shape.head_dim,
            a: self.keys.from(kv_head, tile.start),
            a_strides: (self.keys.stride(), 1),
            b: running.q,
            b_stride: LANES,
            c: scores,
            c_stride: LANES,
            add: false,
        });
        running.visible.hide(self.leaves, running.block, tile, scores);
        let lanes = Lanes { max: running.max, sum: running.sum, shrink: running.shrink };
        self.leaves.softmax(scores, LANES, lanes);
        for (row, &shrink) in running.out.chunks_exact_mut(padded).zip(&*running.shrink) {
            if shrink != 1.0 {
                row.iter_mut().for_each(|o| *o *= shrink);
            }
        }
        self.leaves.product(Product {
            rows: LANES,
            cols: padded,
            depth: tile.len(),
            a: scores,
            a_strides: (1, LANES),
            b: self.values.from(kv_head, tile.start),
            b_stride: self.values.stride(),
            c: running.out,
            c_stride: padded,
            add: true,
        });
    }

    /// Divides by the sums and writes the block's rows.
    fn finish(&self, running: &Running, head: usize) {
        let (shape, padded) = (self.inputs.shape, self.inputs.padded_dim());
        let rows = Head::new(shape.heads, head, shape.head_dim);
        for (lane, query) in running.block.queries.clone().enumerate() {
            // SAFETY: this task alone has this head of these queries.
            let to = unsafe { self.out.slice(rows.at(query), shape.head_dim) };
            // SAFETY: as above.
            let lse = unsafe { self.lse.slice(query * shape.heads + head, 1) };
            let (max, sum) = (running.max[lane], running.sum[lane]);
            let factor = if max == f32::NEG_INFINITY { 0.0 } else { 1.0 / sum };
            to.iter_mut().zip(&running.out[lane * padded..]).for_each(|(to, o)| *to = o * factor);
            lse[0] = (max + sum.log2()) * LN_2;
        }
    }
}

/// Tiles over everything that any of the blocks visits.
fn common_tiles(blocks: &[QueryBlock]) -> impl Iterator<Item = Range<usize>> {
    let spans = QueryBlock::union(blocks.iter().flat_map(|b| b.spans.clone()).collect());
    spans.into_iter().flat_map(|span| span.clone().step_by(KEYS).map(move |at| at..span.end.min(at + KEYS)))
}
