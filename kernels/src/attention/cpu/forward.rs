//! Forward: one task per head and block of queries.

use super::super::blocks::QueryBlock;
use super::tile::{Head, Visible};
use super::packed::Packed;
use super::{Inputs, Mask, Shape};
use crate::simd::leaves::{Lanes, Leaves, Product};
use crate::simd::scratch::with_scratch;
use crate::simd::{Isa, SendPtr};
use rayon::prelude::*;
use std::f32::consts::{LN_2, LOG2_E};

/// Queries of a block: two registers of the widest set.
const LANES: usize = 32;
/// Keys of a tile.
const KEYS: usize = 128;

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
    let leaves = Leaves::of(isa);
    let blocks = QueryBlock::all(mask, shape.queries, shape.keys, LANES);
    let keys = Packed::new(&inputs, k, &blocks);
    let values = Packed::new(&inputs, v, &blocks);
    let (out, lse) = (SendPtr::new(out), SendPtr::new(lse));
    // Late blocks see most and go first, so that the threads finish together.
    let tasks = (0..blocks.len() * shape.heads).into_par_iter().rev().with_max_len(1);
    tasks.for_each(|task| {
        let (block, head) = (&blocks[task / shape.heads], task % shape.heads);
        one_block(leaves, &inputs, (&keys, &values), block, head, (out, lse));
    });
}

/// Running state of a block's softmax.
struct Running<'a> {
    max: &'a mut [f32],
    sum: &'a mut [f32],
    shrink: &'a mut [f32],
    /// `[LANES, padded dim]`, to be divided by `sum`.
    out: &'a mut [f32],
}

/// Results of one head of one block, given all keys and values.
fn one_block(
    leaves: &Leaves,
    inputs: &Inputs,
    (keys, values): (&Packed, &Packed),
    block: &QueryBlock,
    head: usize,
    results: (SendPtr, SendPtr),
) {
    let (dim, padded) = (inputs.shape.head_dim, inputs.padded_dim());
    let lens = [LANES * padded, padded * LANES, KEYS * LANES, LANES, LANES, LANES];
    with_scratch(lens, |[out, turned, scores, max, sum, shrink]| {
        let queries = Head::new(inputs.shape.heads, head, dim);
        let rows = block.queries.len();
        queries.copy(inputs.q, block.queries.clone(), inputs.scale * LOG2_E, padded, out);
        leaves.transpose(&out[..rows * padded], padded, turned, LANES);
        out.fill(0.0);
        max.fill(f32::NEG_INFINITY);
        sum.fill(0.0);
        let mut running = Running { max, sum, shrink, out };
        let visible = Visible::<LANES>::new(inputs.mask, block.queries.clone(), inputs.shape.keys);
        let kv_head = head / inputs.group();
        for tile in block.tiles(0..inputs.shape.keys, KEYS) {
            let scores = &mut scores[..tile.len() * LANES];
            leaves.product(Product {
                rows: tile.len(),
                cols: LANES,
                depth: dim,
                a: keys.from(kv_head, tile.start),
                a_strides: (keys.stride(), 1),
                b: turned,
                b_stride: LANES,
                c: scores,
                c_stride: LANES,
                add: false,
            });
            visible.hide(leaves, block, &tile, scores);
            running.advance(leaves, scores, values.from(kv_head, tile.start), values.stride(), padded);
        }
        finish(inputs, block, head, &running, results);
    });
}

impl Running<'_> {
    /// Takes in a tile of scores and its values.
    fn advance(&mut self, leaves: &Leaves, scores: &mut [f32], values: &[f32], stride: usize, padded: usize) {
        let lanes = Lanes { max: self.max, sum: self.sum, shrink: self.shrink };
        leaves.softmax(scores, LANES, lanes);
        for (row, &shrink) in self.out.chunks_exact_mut(padded).zip(&*self.shrink) {
            if shrink != 1.0 {
                row.iter_mut().for_each(|o| *o *= shrink);
            }
        }
        leaves.product(Product {
            rows: LANES,
            cols: padded,
            depth: scores.len() / LANES,
            a: scores,
            a_strides: (1, LANES),
            b: values,
            b_stride: stride,
            c: self.out,
            c_stride: padded,
            add: true,
        });
    }
}

/// Divides by the sums and writes the block's rows.
fn finish(inputs: &Inputs, block: &QueryBlock, head: usize, running: &Running, (out, lse): (SendPtr, SendPtr)) {
    let (dim, padded) = (inputs.shape.head_dim, inputs.padded_dim());
    let rows = Head::new(inputs.shape.heads, head, dim);
    for (lane, query) in block.queries.clone().enumerate() {
        // SAFETY: this task alone has this head of these queries.
        let (to, lse) = unsafe { (out.slice(rows.at(query), dim), lse.slice(query * inputs.shape.heads + head, 1)) };
        let (max, sum) = (running.max[lane], running.sum[lane]);
        let factor = if max == f32::NEG_INFINITY { 0.0 } else { 1.0 / sum };
        to.iter_mut().zip(&running.out[lane * padded..]).for_each(|(to, o)| *to = o * factor);
        lse[0] = (max + sum.log2()) * LN_2;
    }
}
