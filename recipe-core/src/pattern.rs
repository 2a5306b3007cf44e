//! What one layer's attention sees, and what that costs.

use serde::{Deserialize, Serialize};

/// Which earlier tokens of its own document a query sees, and at which distance. All numbers count tokens of the document,
/// not positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pattern {
    /// All of them.
    Full,
    /// The nearest `window` (itself included) and the document's first `sink`.
    Window {
        /// Tokens, the query's own included.
        window: usize,
        /// First tokens of the document.
        sink: usize,
    },
    /// Every `stride`-th block from the first on, and the `local` nearest, the query's own among them (LongGen, arXiv
    /// 2410.01485, pattern B).
    Strided {
        /// Tokens of a block.
        block: usize,
        /// Blocks from one that is always seen to the next.
        stride: usize,
        /// Nearest blocks.
        local: usize,
    },
    /// S²-Attn (LongLoRA, arXiv 2309.12307): the query's own group of `size`; the second half of the heads has groups that
    /// begin half a group earlier. Training only: outside of it everything is seen.
    ShiftedGroups {
        /// Tokens of a group, an even number.
        size: usize,
    },
    /// Retrieval heads see everything, the others a window and sinks (DuoAttention, arXiv 2410.10819).
    Duo {
        /// Bit g is set where key/value head g retrieves.
        retrieval: u64,
        /// Key/value heads of the layer, 64 at most.
        kv_heads: usize,
        /// Tokens that a streaming head sees, the query's own included.
        window: usize,
        /// First tokens of the document that it sees too.
        sink: usize,
    },
    /// Dual chunk attention (arXiv 2402.17463): everything is seen, at distances that no longer grow with the document. Key
    /// j stands at j mod `chunk`; a query stands at i mod `chunk` for its own chunk, at min(i mod `chunk` + `chunk`,
    /// `farthest`) for the one before, and at `farthest` for all others.
    DualChunk {
        /// Tokens of a chunk.
        chunk: usize,
        /// The largest position of a query.
        farthest: usize,
    },
    /// SelfExtend (arXiv 2401.01325): the nearest `window` at their own distance, the others at ⌊i ÷ group⌋ + window −
    /// ⌊window ÷ group⌋ − ⌊j ÷ group⌋.
    SelfExtend {
        /// Tokens that share a far position.
        group: usize,
        /// Tokens at their own distance, the query's own included.
        window: usize,
    },
}

impl Pattern {
    /// What the layer sees outside of training.
    #[must_use]
    pub fn at_inference(self) -> Self {
        match self {
            Self::ShiftedGroups { .. } => Self::Full,
            other => other,
        }
    }

    /// Whether rotary positions differ from the tokens' own, so that queries and keys are turned once for each part.
    pub fn remaps(self) -> bool {
        matches!(self, Self::DualChunk { .. } | Self::SelfExtend { .. })
    }

    /// Whether the key/value head streams, that is, sees a window and sinks only.
    pub fn streams(self, kv_head: usize) -> bool {
        matches!(self, Self::Duo { retrieval, .. } if retrieval >> kv_head.min(63) & 1 == 0)
    }

    /// Pairs of a query and a key that it sees, in one document of `length` tokens; the mean over heads that differ.
    pub fn visible_pairs(&self, length: usize) -> f64 {
        let tokens = length as f64;
        match *self {
            Self::Full | Self::DualChunk { .. } | Self::SelfExtend { .. } => triangle(tokens),
            Self::Window { window, sink } => windowed(tokens, window as f64, sink as f64),
            Self::Strided { block, stride, local } => strided(length, block, stride, local),
            Self::ShiftedGroups { size } => (grouped(length, size, 0) + grouped(length, size, size / 2)) / 2.0,
            Self::Duo { retrieval, kv_heads, window, sink } => {
                let full = retrieving(retrieval, kv_heads) as f64 / kv_heads.max(1) as f64;
                full * triangle(tokens) + (1.0 - full) * windowed(tokens, window as f64, sink as f64)
            }
        }
    }

    /// Rows of keys that a cache of `length` tokens keeps, summed over `kv_heads` key/value heads: those that a later query
    /// can still see.
    pub fn kept(&self, length: usize, kv_heads: usize) -> usize {
        let streaming = |window: usize, sink: usize| length.min(window.saturating_add(sink));
        let each = match *self {
            Self::Window { window, sink } => streaming(window, sink),
            Self::Strided { block, stride, local } => {
                let (block, stride) = (block.max(1), stride.max(1));
                let far = (length.saturating_sub(1) / block + 1).saturating_sub(local);
                far.div_ceil(stride).saturating_mul(block) + length.saturating_sub(far.saturating_mul(block))
            }
            Self::Duo { retrieval, window, sink, .. } => {
                let full = retrieving(retrieval, kv_heads);
                let stream = kv_heads.saturating_sub(full).saturating_mul(streaming(window, sink));
                return full.saturating_mul(length).saturating_add(stream);
            }
            Self::Full | Self::ShiftedGroups { .. } | Self::DualChunk { .. } | Self::SelfExtend { .. } => length,
        };
        each.saturating_mul(kv_heads)
    }
}

/// Retrieval heads among the first `kv_heads`.
fn retrieving(retrieval: u64, kv_heads: usize) -> usize {
    let mask = if kv_heads >= 64 { u64::MAX } else { (1 << kv_heads) - 1 };
    (retrieval & mask).count_ones() as usize
}

/// 1 + 2 + … + n.
fn triangle(n: f64) -> f64 {
    n * (n + 1.0) / 2.0
}

/// The sum of min(i, most) over i from 1 to n.
fn grown(n: f64, most: f64) -> f64 {
    let rising = n.min(most);
    triangle(rising) + (n - rising) * most
}

/// Row i sees min(i + 1, window) of its window, and of the sinks min(i + 1 − window, sink) more.
fn windowed(length: f64, window: f64, sink: f64) -> f64 {
    grown(length, window) + grown((length - window).max(0.0), sink)
}

/// A row of block b sees its block up to itself, the min(b, local − 1) blocks before, and of the max(0, b + 1 − local) far
/// ones every stride-th.
fn strided(length: usize, block: usize, stride: usize, local: usize) -> f64 {
    let (size, stride, local) = (block.max(1) as f64, stride.max(1) as f64, local as f64);
    let blocks = (length / block.max(1)) as f64;
    let rest = length as f64 - blocks * size;
    let far = |block: f64| ((block + 1.0 - local).max(0.0) / stride).ceil();
    let near = |block: f64| block.min(local - 1.0).max(0.0);
    // Σ ⌈m ÷ stride⌉ over m from 1 to the far blocks of the last whole one.
    let last = (blocks - local).max(0.0);
    let (whole, over) = ((last / stride).floor(), last % stride);
    let all_far = stride * triangle(whole) + over * (whole + 1.0);
    let all_near = if local < 1.0 { 0.0 } else { grown((blocks - 1.0).max(0.0), local - 1.0) };
    let before = (all_far + all_near) * size * size + rest * size * (far(blocks) + near(blocks));
    before + blocks * triangle(size) + triangle(rest)
}

/// Groups of `size`, the first of them short by `shift`.
fn grouped(length: usize, size: usize, shift: usize) -> f64 {
    let size = size.max(1);
    let first = (size - shift.min(size - 1)).min(length);
    let (groups, rest) = ((length - first) / size, (length - first) % size);
    triangle(first as f64) + groups as f64 * triangle(size as f64) + triangle(rest as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a query of a half of the heads (0 or 1) sees a key.
    fn sees(pattern: Pattern, half: usize, row: usize, key: usize) -> bool {
        match pattern {
            Pattern::Window { window, sink } => row - key < window || key < sink,
            Pattern::Strided { block, stride, local } => {
                row / block - key / block < local || (key / block).is_multiple_of(stride)
            }
            Pattern::ShiftedGroups { size } => {
                let group = |at: usize| (at + half * (size / 2)) / size;
                group(row) == group(key)
            }
            Pattern::Duo { window, sink, .. } => half == 0 || row - key < window || key < sink,
            Pattern::Full | Pattern::DualChunk { .. } | Pattern::SelfExtend { .. } => true,
        }
    }

    fn counted(pattern: Pattern, length: usize) -> f64 {
        let seen = |half| {
            (0..length)
                .flat_map(|row| (0..=row).map(move |key| (row, key)))
                .filter(move |&(row, key)| sees(pattern, half, row, key))
        };
        (seen(0).count() + seen(1).count()) as f64 / 2.0
    }

    const PATTERNS: [Pattern; 15] = [
        Pattern::Full,
        Pattern::Window { window: 1, sink: 0 },
        Pattern::Window { window: 1, sink: 4 },
        Pattern::Window { window: 4, sink: 2 },
        Pattern::Window { window: 8, sink: 20 },
        Pattern::Window { window: 40, sink: 3 },
        Pattern::Strided { block: 4, stride: 3, local: 2 },
        Pattern::Strided { block: 1, stride: 2, local: 1 },
        Pattern::Strided { block: 5, stride: 1, local: 1 },
        Pattern::Strided { block: 3, stride: 4, local: 9 },
        Pattern::ShiftedGroups { size: 2 },
        Pattern::ShiftedGroups { size: 12 },
        Pattern::ShiftedGroups { size: 60 },
        Pattern::Duo { retrieval: 0b01, kv_heads: 2, window: 5, sink: 2 },
        Pattern::DualChunk { chunk: 12, farthest: 15 },
    ];

    #[test]
    fn visible_pairs_equal_a_count() {
        for pattern in PATTERNS {
            for length in [1, 2, 5, 11, 12, 16, 33, 50] {
                assert_eq!(pattern.visible_pairs(length), counted(pattern, length), "{length} {pattern:?}");
            }
        }
    }

    /// What is kept is what the next query sees, or could with a row more.
    #[test]
    fn a_cache_keeps_what_the_last_query_sees() {
        for pattern in PATTERNS.into_iter().map(Pattern::at_inference) {
            for length in [1, 7, 24, 33] {
                let row = length - 1;
                let seen = |half| (0..length).filter(|key| sees(pattern, half, row, *key)).count();
                let streaming = matches!(pattern, Pattern::Window { .. });
                let kept = pattern.kept(length, 2);
                assert!(kept >= seen(0) + seen(1), "{length} {pattern:?}");
                assert!(streaming || kept <= seen(0) + seen(1) + 4, "{length} {pattern:?}: {kept}");
            }
        }
    }

    #[test]
    fn heads_without_their_bit_stream() {
        let duo = Pattern::Duo { retrieval: 0b101, kv_heads: 3, window: 8, sink: 2 };
        assert_eq!([0, 1, 2].map(|head| duo.streams(head)), [false, true, false]);
        assert!(!Pattern::Full.streams(0));
        assert_eq!(duo.kept(100, 3), 100 + 10 + 100);
    }
}
