//! Which keys a block of queries has to visit, and which of those visits need no mask.

use super::seen::Seen;
use super::{Mask, Shape};
use rayon::prelude::*;
use std::ops::Range;

/// The query blocks of every query head; heads of one pattern share them.
pub(crate) struct Blocks {
    /// One list for each pattern.
    lists: Vec<Vec<QueryBlock>>,
    /// Which list a query head has.
    list_of: Vec<usize>,
}

impl Blocks {
    /// Cuts the queries into blocks of `size`.
    pub(crate) fn new(mask: &Mask, shape: &Shape, size: usize) -> Blocks {
        // The first head of each pattern.
        let mut firsts: Vec<usize> = Vec::new();
        let list_of = (0..shape.heads).map(|head| {
            let known = firsts.iter().position(|&first| mask.patterns.of(first) == mask.patterns.of(head));
            known.unwrap_or_else(|| {
                firsts.push(head);
                firsts.len() - 1
            })
        });
        let list_of = list_of.collect();
        let list = |&head: &usize| QueryBlock::all(mask, head, shape.queries, shape.keys, size);
        Blocks { lists: firsts.iter().map(list).collect(), list_of }
    }

    /// Blocks of a head.
    pub(crate) fn count(&self) -> usize {
        self.lists.first().map_or(0, Vec::len)
    }

    pub(crate) fn lists(&self) -> &[Vec<QueryBlock>] {
        &self.lists
    }

    /// The lists that any of some heads has, each once.
    pub(crate) fn lists_of(&self, heads: Range<usize>) -> impl Iterator<Item = &[QueryBlock]> {
        let has = move |list: usize| self.list_of[heads.clone()].contains(&list);
        self.lists.iter().enumerate().filter(move |(list, _)| has(*list)).map(|(_, blocks)| &blocks[..])
    }

    pub(crate) fn list_of(&self, head: usize) -> usize {
        self.list_of[head]
    }

    pub(crate) fn of(&self, head: usize) -> &[QueryBlock] {
        &self.lists[self.list_of[head]]
    }
}

/// A run of neighbouring queries handled together.
#[derive(Clone, Debug)]
pub(crate) struct QueryBlock {
    /// The queries.
    pub(crate) queries: Range<usize>,
    /// The keys that at least one of them sees: ascending, disjoint, never empty.
    pub(crate) spans: Vec<Range<usize>>,
    /// Keys that all of them see.
    common: Seen,
}

impl QueryBlock {
    fn all(mask: &Mask, head: usize, queries: usize, keys: usize, size: usize) -> Vec<QueryBlock> {
        let block = |i: usize| QueryBlock::new(mask, head, i * size..queries.min((i + 1) * size), keys);
        (0..queries.div_ceil(size)).into_par_iter().with_min_len(32).map(block).collect()
    }

    fn new(mask: &Mask, head: usize, queries: Range<usize>, keys: usize) -> QueryBlock {
        let seen = |query: usize| mask.seen(head, query, keys);
        // Neighbours of one document usually join, so that a long list of strips is written down once.
        let (mut joined, mut common) = (vec![seen(queries.start)], seen(queries.start));
        for next in queries.clone().skip(1).map(seen) {
            common.meet(&next);
            if !joined.last_mut().is_some_and(|last| last.join(&next)) {
                joined.push(next);
            }
        }
        let spans = QueryBlock::union(joined.iter().flat_map(|seen| seen.within(0..keys)).collect());
        QueryBlock { queries, spans, common }
    }

    /// The query in a lane, if there is one.
    pub(crate) fn query(&self, lane: usize) -> Option<usize> {
        Some(self.queries.start + lane).filter(|query| self.queries.contains(query))
    }

    /// The longest part of a range of keys that every query sees, empty at the range's start where there is none.
    pub(crate) fn shared(&self, keys: &Range<usize>) -> Range<usize> {
        self.common.within(keys.clone()).max_by_key(|r| r.len()).unwrap_or(keys.start..keys.start)
    }

    /// The parts of the spans inside a range of keys, cut into tiles of nearly equal length, at most `size`, which is a
    /// multiple of 8: the last one is never a splinter.
    pub(crate) fn tiles(&self, within: Range<usize>, size: usize) -> impl Iterator<Item = Range<usize>> + '_ {
        self.spans_from(within.start).take_while(move |span| span.start < within.end).flat_map(move |span| {
            let (from, to) = (span.start.max(within.start), span.end.min(within.end));
            let len = to.saturating_sub(from);
            let step = len.div_ceil(len.div_ceil(size).max(1)).next_multiple_of(8);
            (from..to.max(from)).step_by(step.max(1)).map(move |at| at..to.min(at + step))
        })
    }

    /// Ranges of keys with at most `size` keys to visit in each.
    pub(crate) fn pieces(&self, keys: usize, size: usize) -> Vec<Range<usize>> {
        let (mut pieces, mut held): (Vec<Range<usize>>, usize) = (Vec::new(), 0);
        for tile in self.tiles(0..keys, size) {
            held += tile.len();
            match pieces.last_mut().filter(|_| held <= size) {
                Some(piece) => piece.end = tile.end,
                None => {
                    held = tile.len();
                    pieces.push(tile);
                }
            }
        }
        pieces
    }

    /// From the first to the last key of a range that any query sees, if there is one.
    pub(crate) fn visited(&self, keys: &Range<usize>) -> Option<Range<usize>> {
        let first = self.spans_from(keys.start).next().filter(|span| span.start < keys.end)?;
        let last = &self.spans[self.spans.partition_point(|span| span.start < keys.end) - 1];
        Some(first.start.max(keys.start)..last.end.min(keys.end))
    }

    /// The spans that do not end before a key.
    fn spans_from(&self, key: usize) -> impl Iterator<Item = &Range<usize>> {
        self.spans[self.spans.partition_point(|span| span.end <= key)..].iter()
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
