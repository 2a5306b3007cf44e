//! Pieces of the tensors in the layouts the products want.

use super::super::blocks::QueryBlock;
use super::Mask;
use crate::simd::leaves::{Bounds, Leaves};
use std::ops::Range;

/// One head of a `[rows, heads, D]` tensor.
#[derive(Clone, Copy)]
pub(super) struct Head {
    heads: usize,
    head: usize,
    dim: usize,
}

impl Head {
    pub(super) fn new(heads: usize, head: usize, dim: usize) -> Head {
        Head { heads, head, dim }
    }

    /// Where a row begins.
    pub(super) fn at(&self, row: usize) -> usize {
        (row * self.heads + self.head) * self.dim
    }

    /// Values from one row to the next.
    pub(super) fn stride(&self) -> usize {
        self.heads * self.dim
    }

    /// The head's values in one row.
    pub(super) fn row<'a>(&self, tensor: &'a [f32], row: usize) -> &'a [f32] {
        &tensor[self.at(row)..][..self.dim]
    }

    /// Copies rows times `factor` to `[rows, padded]`, zeros in the padding.
    pub(super) fn copy(&self, tensor: &[f32], rows: Range<usize>, factor: f32, padded: usize, to: &mut [f32]) {
        for (row, to) in rows.zip(to.chunks_exact_mut(padded)) {
            let (values, padding) = to.split_at_mut(self.dim);
            values.iter_mut().zip(self.row(tensor, row)).for_each(|(to, from)| *to = from * factor);
            padding.fill(0.0);
        }
    }
}

/// For each query of a block the two ranges of keys it sees.
pub(super) struct Visible<const LANES: usize> {
    ranges: [[Range<usize>; 2]; LANES],
}

impl<const LANES: usize> Visible<LANES> {
    /// `query` says which query a lane holds; a lane without one sees nothing.
    pub(super) fn new(mask: &Mask, keys: usize, query: impl Fn(usize) -> Option<usize>) -> Self {
        let ranges = |lane| query(lane).map_or([0..0, 0..0], |query| mask.ranges(query, keys));
        Visible { ranges: std::array::from_fn(ranges) }
    }

    /// Hides from a tile `[tile keys, LANES]` of scores what its queries do not see.
    pub(super) fn hide(&self, leaves: &Leaves, block: &QueryBlock, keys: &Range<usize>, tile: &mut [f32]) {
        let shared = block.shared(keys);
        self.hide_part(leaves, keys.start..shared.start, &mut tile[..(shared.start - keys.start) * LANES]);
        self.hide_part(leaves, shared.end..keys.end, &mut tile[(shared.end - keys.start) * LANES..]);
    }

    fn hide_part(&self, leaves: &Leaves, keys: Range<usize>, tile: &mut [f32]) {
        if keys.is_empty() {
            return;
        }
        let local = |key: usize| (key.clamp(keys.start, keys.end) - keys.start) as f32;
        let low = |which: usize| -> [f32; LANES] { std::array::from_fn(|i| local(self.ranges[i][which].start)) };
        let high = |which: usize| -> [f32; LANES] { std::array::from_fn(|i| local(self.ranges[i][which].end)) };
        let bounds = Bounds { low: [&low(0), &low(1)], high: [&high(0), &high(1)] };
        leaves.hide(tile, LANES, 0, &bounds);
    }
}
