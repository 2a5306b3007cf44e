//! Forward for a few queries against many keys, as in decoding: the query heads that share a key/value head share the
//! vector registers, and the keys are cut into pieces for the threads, whose results are merged in order.

use super::super::blocks::QueryBlock;
use super::running::{Rows, Running};
use super::tile::{Head, Visible};
use super::{Inputs, Shape};
use crate::simd::leaves::Leaves;
use crate::simd::scratch::with_scratch;
use rayon::prelude::*;
use std::f32::consts::{LN_2, LOG2_E};
use std::ops::Range;

/// Rows of a task: query heads of the group times queries.
const LANES: usize = 16;
/// Keys of a tile, and of a task.
const KEYS: usize = 128;
const PIECE: usize = 1024;

/// Whether the rows of one key/value head fill at most two registers of the widest set.
pub(super) fn applies(shape: &Shape) -> bool {
    shape.queries * (shape.heads / shape.kv_heads) <= 2 * LANES
}

pub(super) fn forward(leaves: &Leaves, inputs: &Inputs, out: &mut [f32], lse: &mut [f32]) {
    let shape = inputs.shape;
    let Some(block) = QueryBlock::all(inputs.mask, shape.queries, shape.keys, shape.queries.max(1)).pop() else {
        return;
    };
    let pieces: Vec<Range<usize>> = block.tiles(0..shape.keys, PIECE).collect();
    let tables = (shape.queries * inputs.group()).div_ceil(LANES);
    let few = Few { leaves, inputs, block: &block };
    // [head, table, piece]
    let task = |i: usize| few.piece(i / pieces.len() / tables, i / pieces.len() % tables, &pieces[i % pieces.len()]);
    let partial: Vec<Partial> = (0..shape.kv_heads * tables * pieces.len()).into_par_iter().map(task).collect();
    for kv_head in 0..shape.kv_heads {
        for table in 0..tables {
            let parts = &partial[(kv_head * tables + table) * pieces.len()..][..pieces.len()];
            few.merge(kv_head, table, parts, out, lse);
        }
    }
}

struct Few<'a> {
    leaves: &'a Leaves,
    inputs: &'a Inputs<'a>,
    /// All the queries.
    block: &'a QueryBlock,
}

/// What a table of rows found in one piece of the keys.
struct Partial {
    max: [f32; LANES],
    sum: [f32; LANES],
    /// `[LANES, padded dim]`
    out: Vec<f32>,
}

impl Few<'_> {
    /// The query and query head of a lane, if it has one.
    fn row(&self, kv_head: usize, table: usize, lane: usize) -> Option<(usize, usize)> {
        let (queries, group) = (self.inputs.shape.queries, self.inputs.group());
        let row = table * LANES + lane;
        (row < queries * group).then(|| (row % queries, kv_head * group + row / queries))
    }

    fn piece(&self, kv_head: usize, table: usize, piece: &Range<usize>) -> Partial {
        let (shape, padded) = (self.inputs.shape, self.inputs.padded_dim());
        let lens = [padded * LANES, Running::<LANES>::STATE, KEYS * LANES, KEYS * padded];
        with_scratch(lens, |[q, state, scores, copy]| {
            let mut out = vec![0.0; LANES * padded];
            self.turn_queries(kv_head, table, q);
            let query = |lane| self.row(kv_head, table, lane).map(|(query, _)| query);
            let visible = Visible::new(self.inputs.mask, shape.keys, query);
            let mut running = Running::<LANES>::new(visible, q, &mut out, state);
            let rows = Head::new(shape.kv_heads, kv_head, shape.head_dim);
            for tile in self.block.tiles(piece.clone(), KEYS) {
                let keys = Rows { values: &self.inputs.k[rows.at(tile.start)..], stride: rows.stride() };
                let values = if shape.head_dim == padded {
                    Rows { values: &self.inputs.v[rows.at(tile.start)..], stride: rows.stride() }
                } else {
                    rows.copy(self.inputs.v, tile.clone(), 1.0, padded, copy);
                    Rows { values: copy, stride: padded }
                };
                running.advance(self.leaves, self.block, &tile, (keys, values), shape.head_dim, scores);
            }
            let lanes = |values: &[f32]| std::array::from_fn(|lane| values[lane]);
            let (max, sum) = (lanes(running.max), lanes(running.sum));
            Partial { max, sum, out }
        })
    }

    /// `scale · log₂e · q` as `[padded dim, LANES]`, zeros where there is no row.
    fn turn_queries(&self, kv_head: usize, table: usize, q: &mut [f32]) {
        let shape = self.inputs.shape;
        q.fill(0.0);
        for lane in 0..LANES {
            let Some((query, head)) = self.row(kv_head, table, lane) else { break };
            let row = Head::new(shape.heads, head, shape.head_dim).row(self.inputs.q, query);
            for (d, value) in row.iter().enumerate() {
                q[d * LANES + lane] = value * self.inputs.scale * LOG2_E;
            }
        }
    }

    /// Joins the pieces and writes the rows of a table.
    fn merge(&self, kv_head: usize, table: usize, parts: &[Partial], out: &mut [f32], lse: &mut [f32]) {
        let (shape, padded) = (self.inputs.shape, self.inputs.padded_dim());
        for lane in 0..LANES {
            let Some((query, head)) = self.row(kv_head, table, lane) else { break };
            let max = parts.iter().map(|p| p.max[lane]).fold(f32::NEG_INFINITY, f32::max);
            // Not `max > −∞`: a NaN that was seen has to come out.
            let seen = || parts.iter().filter(|p| p.sum[lane] != 0.0);
            let weight = |p: &Partial| (p.max[lane] - max).exp2();
            let sum: f32 = seen().map(|p| p.sum[lane] * weight(p)).sum();
            lse[query * shape.heads + head] = (max + sum.log2()) * LN_2;
            let to = &mut out[Head::new(shape.heads, head, shape.head_dim).at(query)..][..shape.head_dim];
            to.fill(0.0);
            for part in seen() {
                let factor = weight(part) / sum;
                to.iter_mut().zip(&part.out[lane * padded..]).for_each(|(to, o)| *to += o * factor);
            }
        }
    }
}
