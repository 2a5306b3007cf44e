//! Queries on their way through the keys: the online softmax.

use super::super::blocks::QueryBlock;
use super::tile::Visible;
use crate::simd::leaves::{Lanes, Leaves, Product};
use std::ops::Range;

/// A tensor of keys or values from a tile's first row on, rows `stride` apart.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) values: &'a [f32],
    pub(super) stride: usize,
}

/// The state of at most `LANES` queries after some of their keys.
pub(super) struct Running<'a, const LANES: usize> {
    pub(super) visible: Visible<LANES>,
    /// `scale · log₂e · q`, `[padded dim, LANES]`.
    pub(super) q: &'a mut [f32],
    /// Largest score so far, in units of log 2.
    pub(super) max: &'a mut [f32],
    /// `Σ 2^(score − max)`.
    pub(super) sum: &'a mut [f32],
    shrink: &'a mut [f32],
    /// `[queries, padded dim]`, to be divided by `sum`.
    pub(super) out: &'a mut [f32],
}

impl<'a, const LANES: usize> Running<'a, LANES> {
    /// Values that `state` of [`Running::new`] holds.
    pub(super) const STATE: usize = 3 * LANES;

    /// Before the first key.
    pub(super) fn new(visible: Visible<LANES>, q: &'a mut [f32], out: &'a mut [f32], state: &'a mut [f32]) -> Self {
        let (max, rest) = state.split_at_mut(LANES);
        let (sum, shrink) = rest.split_at_mut(LANES);
        max.fill(f32::NEG_INFINITY);
        sum.fill(0.0);
        out.fill(0.0);
        Running { visible, q, max, sum, shrink, out }
    }

    /// Takes in a tile of keys and values of dimension `dim`; `scores` is working memory.
    pub(super) fn advance(
        &mut self,
        leaves: &Leaves,
        block: &QueryBlock,
        tile: &Range<usize>,
        (keys, values): (Rows, Rows),
        dim: usize,
        scores: &mut [f32],
    ) {
        let (padded, scores) = (self.q.len() / LANES, &mut scores[..tile.len() * LANES]);
        leaves.product(Product {
            rows: tile.len(),
            cols: LANES,
            depth: dim,
            a: keys.values,
            a_strides: (keys.stride, 1),
            b: self.q,
            b_stride: LANES,
            c: scores,
            c_stride: LANES,
            add: false,
        });
        self.visible.hide(leaves, block, tile, scores);
        leaves.softmax(scores, LANES, Lanes { max: self.max, sum: self.sum, shrink: self.shrink });
        for (row, &shrink) in self.out.chunks_exact_mut(padded).zip(&*self.shrink) {
            if shrink != 1.0 {
                row.iter_mut().for_each(|o| *o *= shrink);
            }
        }
        leaves.product(Product {
            rows: self.out.len() / padded,
            cols: padded,
            depth: tile.len(),
            a: scores,
            a_strides: (1, LANES),
            b: values.values,
            b_stride: values.stride,
            c: self.out,
            c_stride: padded,
            add: true,
        });
    }
}
