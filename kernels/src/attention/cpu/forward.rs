//! Forward: one task per head and group of neighbouring blocks of queries, which share every tile of keys and values
//! while it is in the cache.

use super::super::blocks::{Blocks, QueryBlock};
use super::packed::Packed;
use super::running::{Rows, Running};
use super::tile::{Head, Visible};
use super::{Inputs, Mask, Shape, few};
use crate::simd::leaves::Leaves;
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
    if few::applies(shape) {
        return few::forward(Leaves::of(isa), &inputs, out, lse);
    }
    let blocks = Blocks::new(mask, shape, LANES);
    let len = Packed::len(&inputs, &blocks);
    with_scratch([len, len], |[key_memory, value_memory]| {
        let task = Task {
            leaves: Leaves::of(isa),
            inputs: &inputs,
            keys: Packed::new(&inputs, k, &blocks, key_memory),
            values: Packed::new(&inputs, v, &blocks, value_memory),
            out: SendPtr::new(out),
            lse: SendPtr::new(lse),
        };
        task.run_all(&blocks);
    });
}

struct Task<'a> {
    leaves: &'a Leaves,
    inputs: &'a Inputs<'a>,
    keys: Packed<'a>,
    values: Packed<'a>,
    out: SendPtr,
    lse: SendPtr,
}

impl Task<'_> {
    /// Every head of every block. Late queries see most and go first, so that the threads finish together.
    fn run_all(&self, blocks: &Blocks) {
        let (shape, together) = (self.inputs.shape, if self.inputs.shape.queries < LONG { 1 } else { TOGETHER });
        let tasks = (0..blocks.count().div_ceil(together) * shape.heads).into_par_iter().rev().with_max_len(1);
        tasks.for_each(|i| {
            let (group, head) = (i / shape.heads, i % shape.heads);
            let rest = &blocks.of(head)[group * together..];
            self.run(&rest[..together.min(rest.len())], head);
        });
    }

    fn run(&self, blocks: &[QueryBlock], head: usize) {
        let (count, size) = (blocks.len(), LANES * self.inputs.padded_dim());
        let lens = [count * size, count * size, count * Running::<LANES>::STATE, KEYS * LANES];
        with_scratch(lens, |[q, out, state, scores]| {
            let memory = q.chunks_exact_mut(size).zip(out.chunks_exact_mut(size));
            let memory = memory.zip(state.chunks_exact_mut(Running::<LANES>::STATE));
            let start = |(block, ((q, out), state))| (block, self.start(block, head, q, out, state));
            let mut running: Vec<(&QueryBlock, Running<LANES>)> = blocks.iter().zip(memory).map(start).collect();
            for tile in common_tiles(blocks) {
                for (block, running) in &mut running {
                    for part in block.tiles(tile.clone(), KEYS) {
                        let rows = self.rows(head, part.start);
                        running.advance(self.leaves, block, &part, rows, self.inputs.shape.head_dim, scores);
                    }
                }
            }
            running.iter().for_each(|(block, running)| self.finish(block, running, head));
        });
    }

    fn start<'b>(
        &self,
        block: &QueryBlock,
        head: usize,
        q: &'b mut [f32],
        out: &'b mut [f32],
        state: &'b mut [f32],
    ) -> Running<'b, LANES> {
        let (inputs, padded) = (self.inputs, self.inputs.padded_dim());
        let rows = Head::new(inputs.shape.heads, head, inputs.shape.head_dim);
        rows.copy(inputs.q, block.queries.clone(), inputs.scale * LOG2_E, padded, out);
        self.leaves.transpose(&out[..block.queries.len() * padded], padded, q, LANES);
        let visible = Visible::new(inputs.mask, inputs.shape.keys, |lane| Some((block.query(lane)?, head)));
        Running::new(visible, q, out, state)
    }

    /// Keys and values from one row on.
    fn rows(&self, head: usize, first: usize) -> (Rows<'_>, Rows<'_>) {
        let kv_head = head / self.inputs.group();
        (self.keys.rows(kv_head, first), self.values.rows(kv_head, first))
    }

    /// Divides by the sums and writes the block's rows.
    fn finish(&self, block: &QueryBlock, running: &Running<LANES>, head: usize) {
        let (shape, padded) = (self.inputs.shape, self.inputs.padded_dim());
        let rows = Head::new(shape.heads, head, shape.head_dim);
        for (lane, query) in block.queries.clone().enumerate() {
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
