//! Pieces of the tensors in the layouts the products want.

use super::super::blocks::QueryBlock;
use super::super::seen::Seen;
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

/// The keys that each query of a block sees.
pub(super) struct Visible<const LANES: usize> {
    seen: [Seen; LANES],
}

impl<const LANES: usize> Visible<LANES> {
    /// `row` says which query and query head a lane holds; a lane without them sees nothing.
    pub(super) fn new(mask: &Mask, keys: usize, row: impl Fn(usize) -> Option<(usize, usize)>) -> Self {
        let seen = |lane| row(lane).map_or(Seen::NOTHING, |(query, head)| mask.seen(head, query, keys));
        Visible { seen: std::array::from_fn(seen) }
    }

    /// Hides from a tile `[tile keys, LANES]` of scores what its queries do not see.
    pub(super) fn hide(&self, leaves: &Leaves, block: &QueryBlock, keys: &Range<usize>, tile: &mut [f32]) {
        let shared = block.shared(keys);
        self.hide_part(leaves, keys.start..shared.start, &mut tile[..(shared.start - keys.start) * LANES]);
        self.hide_part(leaves, shared.end..keys.end, &mut tile[(shared.end - keys.start) * LANES..]);
    }

    /// Piece by piece, since the leaf knows two ranges of a lane.
    fn hide_part(&self, leaves: &Leaves, keys: Range<usize>, mut tile: &mut [f32]) {
        let mut first = keys.start;
        while first < keys.end {
            let (mut end, mut low, mut high) = (keys.end, [[0.0; LANES]; 2], [[0.0; LANES]; 2]);
            for (lane, seen) in self.seen.iter().enumerate() {
                let (ranges, third) = seen.two_within(first..end);
                for (which, range) in ranges.iter().enumerate() {
                    low[which][lane] = (range.start - first) as u32 as f32;
                    high[which][lane] = (range.end - first) as u32 as f32;
                }
                end = third;
            }
            let (piece, rest) = std::mem::take(&mut tile).split_at_mut((end - first) * LANES);
            let bounds = Bounds { low: [&low[0], &low[1]], high: [&high[0], &high[1]] };
            leaves.hide(piece, LANES, 0, &bounds);
            (first, tile) = (end, rest);
        }
    }
}
