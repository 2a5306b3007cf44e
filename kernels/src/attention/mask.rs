//! Which key a query sees, and which whole ranges of keys it does.

use super::seen::{SOLID, Seen};
use std::ops::Range;

/// The attention pattern within a document. Every pattern is causal and counts rows from the document's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Every earlier key.
    Full,
    /// The last `window` keys, the query's own among them, and the first `sink` keys of the document.
    Window {
        /// Keys in the window.
        window: usize,
        /// Keys kept at the document's start.
        sink: usize,
    },
    /// Every `stride`-th block of the document from its first on, and the `local` nearest blocks, the query's own among
    /// them (LongGen, arXiv 2410.01485, pattern B). All three are at least 1.
    Strided {
        /// Keys of a block.
        block: usize,
        /// Blocks from one that is always seen to the next.
        stride: usize,
        /// Nearest blocks.
        local: usize,
    },
    /// The keys of the query's own group; row `r` of a document lies in group `(r + shift) / size`. Half of the heads
    /// with shift 0 and half with `size / 2` are LongLoRA's S²-Attn (arXiv 2309.12307) without its wrap-around: the
    /// document's first group is short instead.
    Group {
        /// Keys of a group, at least 1.
        size: usize,
        /// By how much groups begin before the multiples of `size`.
        shift: usize,
    },
    /// The keys of whole groups of `size` rows before the query's own: those that lie `nearest` to `farthest` groups
    /// back, one at least. Parts of dual chunk attention (arXiv 2402.17463).
    Past {
        /// Keys of a group, at least 1.
        size: usize,
        /// Groups back of the nearest that is seen, at least 1.
        nearest: usize,
        /// Groups back of the farthest.
        farthest: usize,
    },
    /// The keys that a window of `window` does not reach: SelfExtend's far part (arXiv 2401.01325).
    Beyond {
        /// Keys of that window, at least 1.
        window: usize,
    },
}

impl Pattern {
    fn check(self) {
        let at_least_one = match self {
            Pattern::Full | Pattern::Window { .. } => true,
            Pattern::Strided { block, stride, local } => block.min(stride).min(local) > 0,
            Pattern::Group { size, .. } => size > 0,
            Pattern::Past { size, nearest, .. } => size.min(nearest) > 0,
            Pattern::Beyond { window } => window > 0,
        };
        assert!(at_least_one, "kernels: sizes and strides of {self:?} have to be at least 1");
    }

    /// Whether a query sees a key of its document, both numbered from the document's start and `key <= row`.
    fn sees(self, row: usize, key: usize) -> bool {
        match self {
            Pattern::Full => true,
            Pattern::Window { window, sink } => row - key < window || key < sink,
            Pattern::Strided { block, stride, local } => {
                row / block - key / block < local || (key / block).is_multiple_of(stride)
            }
            Pattern::Group { size, shift } => (row + shift) / size == (key + shift) / size,
            Pattern::Past { size, nearest, farthest } => (nearest..=farthest).contains(&(row / size - key / size)),
            Pattern::Beyond { window } => row - key >= window,
        }
    }

    /// The keys that row `row` of a document sees, numbered from the document's start.
    fn seen(self, row: usize) -> Seen {
        let end = row + 1;
        let from = |near: usize| Seen::new(0, 0, SOLID, near..end);
        match self {
            Pattern::Full | Pattern::Strided { stride: 1, .. } => from(0),
            Pattern::Window { window, sink } => {
                let near = end.saturating_sub(window);
                Seen::new(sink.min(near), SOLID, SOLID, near..end)
            }
            Pattern::Strided { block, stride, local } => {
                let near = (row / block + 1).saturating_sub(local) * block;
                Seen::new(near, block, block.saturating_mul(stride), near..end)
            }
            Pattern::Group { size, shift } => from(row.saturating_sub((row + shift) % size)),
            Pattern::Past { size, nearest, farthest } => {
                let group = row / size;
                let past = group.saturating_sub(farthest)..(group + 1).saturating_sub(nearest);
                Seen::new(0, 0, SOLID, past.start * size..past.end.max(past.start) * size)
            }
            Pattern::Beyond { window } => Seen::new(0, 0, SOLID, 0..end.saturating_sub(window)),
        }
    }
}

/// The patterns of a call's query heads. The heads of a key/value head may differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patterns<'a> {
    /// One for all of them.
    All(Pattern),
    /// One for each, `[H]`.
    PerHead(&'a [Pattern]),
}

impl Patterns<'_> {
    /// The pattern of a query head.
    pub fn of(&self, head: usize) -> Pattern {
        match self {
            Patterns::All(pattern) => *pattern,
            Patterns::PerHead(patterns) => patterns[head],
        }
    }

    pub(super) fn check(&self, heads: usize) {
        match self {
            Patterns::All(pattern) => pattern.check(),
            Patterns::PerHead(patterns) => {
                crate::expect_len("patterns", patterns.len(), heads);
                patterns.iter().for_each(|pattern| pattern.check());
            }
        }
    }
}

impl From<Pattern> for Patterns<'_> {
    fn from(pattern: Pattern) -> Self {
        Patterns::All(pattern)
    }
}

/// Who sees whom. Rows are numbered globally, so that queries and keys may be pieces of a longer sequence.
#[derive(Clone, Copy, Debug)]
pub struct Mask<'a> {
    /// The patterns of the query heads.
    pub patterns: Patterns<'a>,
    /// Global row of query 0.
    pub query_row: usize,
    /// Global row of key 0.
    pub key_row: usize,
    /// For each query the global row at which its document starts.
    pub starts: &'a [usize],
}

impl Mask<'_> {
    /// Whether query `i` of a head sees key `j`: not a later one, not one of an earlier document, and in the pattern.
    pub fn visible(&self, head: usize, i: usize, j: usize) -> bool {
        let (row, key, start) = (self.query_row + i, self.key_row + j, self.starts[i]);
        key <= row && key >= start && self.patterns.of(head).sees(row - start, key - start)
    }

    /// The keys that query `i` of a head sees, as indices below `keys`: ascending, none empty, none overlapping.
    pub fn ranges(&self, head: usize, i: usize, keys: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        self.seen(head, i, keys).within(0..keys)
    }

    pub(crate) fn seen(&self, head: usize, i: usize, keys: usize) -> Seen {
        let (row, start) = (self.query_row + i, self.starts[i]);
        if row < start {
            return Seen::NOTHING;
        }
        self.patterns.of(head).seen(row - start).placed(start, self.key_row, keys)
    }
}
