//! Forward for a few queries against many keys, as in decoding: the query heads that share a key/value head and a
//! pattern share the vector registers, and the keys are cut into pieces for the threads, whose results are merged in
//! order.

use super::super::blocks::{Blocks, QueryBlock};
use super::running::{Rows, Running};
use super::tile::{Head, Visible};
use super::{Inputs, Shape};
use crate::simd::leaves::Leaves;
use crate::simd::scratch::with_scratch;
use rayon::prelude::*;
use std::f32::consts::{LN_2, LOG2_E};
use std::ops::Range;

/// Rows of a table.
const LANES: usize = 16;
/// Keys of a tile, and most keys of a task.
const KEYS: usize = 128;
const PIECE: usize = 256;

/// Whether the rows of one key/value head fill at most two registers of the widest set.
pub(super) fn applies(shape: &Shape) -> bool {
    shape.queries * (shape.heads / shape.kv_heads) <= 2 * LANES
}

pub(super) fn forward(leaves: &Leaves, inputs: &Inputs, out: &mut [f32], lse: &mut [f32]) {
    let few = Few { leaves, inputs };
    let blocks = Blocks::new(inputs.mask, inputs.shape, inputs.shape.queries.max(1));
    let tables: Vec<Table> = (0..inputs.shape.kv_heads).flat_map(|kv_head| few.tables(&blocks, kv_head)).collect();
    let pieces = |(n, table)| Table::pieces(table, inputs.shape.keys).map(move |piece| (n, piece));
    let mut tasks: Vec<(usize, Range<usize>)> = tables.iter().enumerate().flat_map(pieces).collect();
    // The heads of the same keys lie side by side in memory.
    tasks.sort_by_key(|(table, piece)| (piece.start, *table));
    let partial: Vec<Partial> = tasks.par_iter().map(|(table, piece)| few.piece(&tables[*table], piece)).collect();
    for (n, table) in tables.iter().enumerate() {
        let parts = tasks.iter().zip(&partial).filter(|((of, _), _)| *of == n).map(|(_, part)| part);
        few.merge(table, &parts.collect::<Vec<_>>(), out, lse);
    }
}

struct Few<'a> {
    leaves: &'a Leaves,
    inputs: &'a Inputs<'a>,
}

/// Rows of one key/value head that visit the same keys.
struct Table<'a> {
    kv_head: usize,
    /// Query and query head of each lane.
    rows: Vec<(usize, usize)>,
    /// All the queries.
    block: &'a QueryBlock,
}

impl Table<'_> {
    fn pieces(&self, keys: usize) -> impl Iterator<Item = Range<usize>> {
        self.block.pieces(keys, PIECE).into_iter()
    }
}

/// What a table of rows found in one piece of the keys.
struct Partial {
    max: [f32; LANES],
    sum: [f32; LANES],
    /// `[rows, padded dim]`
    out: Vec<f32>,
}

impl Few<'_> {
    /// The rows of a key/value head, pattern by pattern.
    fn tables<'b>(&self, blocks: &'b Blocks, kv_head: usize) -> Vec<Table<'b>> {
        let heads = self.inputs.readers(kv_head);
        let lists = blocks.lists().iter().enumerate();
        let tables = lists.flat_map(|(list, of_list)| {
            let heads = heads.clone().filter(move |&head| blocks.list_of(head) == list);
            let rows = heads.flat_map(|head| (0..self.inputs.shape.queries).map(move |query| (query, head)));
            let rows: Vec<(usize, usize)> = rows.collect();
            let table = |rows: &[_]| of_list.first().map(|block| Table { kv_head, rows: rows.to_vec(), block });
            rows.chunks(LANES).filter_map(table).collect::<Vec<_>>()
        });
        tables.collect()
    }

    fn piece(&self, table: &Table, piece: &Range<usize>) -> Partial {
        let (shape, padded) = (self.inputs.shape, self.inputs.padded_dim());
        let lens = [padded * LANES, Running::<LANES>::STATE, KEYS * LANES, KEYS * padded];
        with_scratch(lens, |[q, state, scores, copy]| {
            let mut out = vec![0.0; table.rows.len() * padded];
            self.turn_queries(table, q);
            let visible = Visible::new(self.inputs.mask, shape.keys, |lane| table.rows.get(lane).copied());
            let mut running = Running::<LANES>::new(visible, q, &mut out, state);
            let rows = Head::new(shape.kv_heads, table.kv_head, shape.head_dim);
            for tile in table.block.tiles(piece.clone(), KEYS) {
                let keys = Rows { values: &self.inputs.k[rows.at(tile.start)..], stride: rows.stride() };
                let values = if shape.head_dim == padded {
                    Rows { values: &self.inputs.v[rows.at(tile.start)..], stride: rows.stride() }
                } else {
                    rows.copy(self.inputs.v, tile.clone(), 1.0, padded, copy);
                    Rows { values: copy, stride: padded }
                };
                running.advance(self.leaves, table.block, &tile, (keys, values), shape.head_dim, scores);
            }
            let lanes = |values: &[f32]| std::array::from_fn(|lane| values[lane]);
            let (max, sum) = (lanes(running.max), lanes(running.sum));
            Partial { max, sum, out }
        })
    }

    /// `scale · log₂e · q` as `[padded dim, LANES]`, zeros where there is no row.
    fn turn_queries(&self, table: &Table, q: &mut [f32]) {
        let shape = self.inputs.shape;
        q.fill(0.0);
        for (lane, &(query, head)) in table.rows.iter().enumerate() {
            let row = Head::new(shape.heads, head, shape.head_dim).row(self.inputs.q, query);
            for (d, value) in row.iter().enumerate() {
                q[d * LANES + lane] = value * self.inputs.scale * LOG2_E;
            }
        }
    }

    /// Joins the pieces and writes the rows of a table.
    fn merge(&self, table: &Table, parts: &[&Partial], out: &mut [f32], lse: &mut [f32]) {
        let (shape, padded) = (self.inputs.shape, self.inputs.padded_dim());
        for (lane, &(query, head)) in table.rows.iter().enumerate() {
            let max = parts.iter().map(|p| p.max[lane]).fold(f32::NEG_INFINITY, f32::max);
            // Not `max > −∞`: a NaN that was seen has to come out.
            let seen = || parts.iter().filter(|p| p.sum[lane] != 0.0).copied();
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
