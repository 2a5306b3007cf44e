//! Which keys a block of queries has to visit, and which of those visits need no mask.

use super::Mask;
use rayon::prelude::*;
use std::ops::Range;

/// A run of neighbouring queries handled together.
#[derive(Clone, Debug)]
pub(crate) struct QueryBlock {
    /// The queries.
    pub(crate) queries: Range<usize>,
    /// The keys that at least one of them sees: ascending, disjoint, never empty.
    pub(crate) spans: Vec<Range<usize>>,
    /// Keys that all of them see, as sinks and as near keys; either may be empty.
    common: [Range<usize>; 2],
}

impl QueryBlock {
    /// Cuts the queries into blocks of `size`.
    pub(crate) fn all(mask: &Mask, queries: usize, keys: usize, size: usize) -> Vec<QueryBlock> {
        let block = |i: usize| QueryBlock::new(mask, i * size..queries.min((i + 1) * size), keys);
        (0..queries.div_ceil(size)).into_par_iter().with_min_len(32).map(block).collect()
    }

    fn new(mask: &Mask, queries: Range<usize>, keys: usize) -> QueryBlock {
        let mut seen: Vec<Range<usize>> = Vec::new();
        let mut common = [0..usize::MAX, 0..usize::MAX];
        for query in queries.clone() {
            let ranges = mask.ranges(query, keys);
            for (common, range) in common.iter_mut().zip(&ranges) {
                *common = common.start.max(range.start)..common.end.min(range.end);
            }
            // Neighbours usually see nearly the same: growing the last two entries keeps the list short.
            for range in ranges.into_iter().filter(|r| !r.is_empty()) {
                let recent = seen.len().saturating_sub(2);
                match seen[recent..].iter_mut().find(|s| s.start <= range.end && range.start <= s.end) {
                    Some(span) => *span = span.start.min(range.start)..span.end.max(range.end),
                    None => seen.push(range),
                }
            }
        }
        QueryBlock { queries, spans: QueryBlock::union(seen), common }
    }

    /// The longest part of a range of keys that every query sees, empty at the range's start where there is none.
    pub(crate) fn shared(&self, keys: &Range<usize>) -> Range<usize> {
        let inside = |r: &Range<usize>| r.start.max(keys.start)..r.end.min(keys.end);
        let parts = self.common.iter().map(inside).filter(|r| !r.is_empty());
        parts.max_by_key(|r| r.len()).unwrap_or(keys.start..keys.start)
    }

    /// The parts of the spans inside a range of keys, cut into tiles of nearly equal length, at most `size`, which is a
    /// multiple of 8: the last one is never a splinter.
    pub(crate) fn tiles(&self, within: Range<usize>, size: usize) -> impl Iterator<Item = Range<usize>> + '_ {
        self.spans.iter().flat_map(move |span| {
            let (from, to) = (span.start.max(within.start), span.end.min(within.end));
            let len = to.saturating_sub(from);
            let step = len.div_ceil(len.div_ceil(size).max(1)).next_multiple_of(8);
            (from..to.max(from)).step_by(step.max(1)).map(move |at| at..to.min(at + step))
        })
    }

    /// Whether any query sees any key of a range.
    pub(crate) fn touches(&self, keys: &Range<usize>) -> bool {
        self.spans.iter().any(|span| span.start < keys.end && keys.start < span.end)
    }

    /// The same keys in ascending, disjoint ranges.
    pub(crate) fn union(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
        ranges.sort_by_key(|r| r.start);
        let mut merged: Vec<Range<usize>> = Vec::with_capacity(ranges.len());
        for range in ranges {
            match merged.last_mut().filter(|last| range.start <= last.end) {
                Some(last) => last.end = last.end.max(range.end),
                None => merged.push(range),
            }
        }
        merged
    }
}
