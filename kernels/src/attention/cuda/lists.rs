//! Which tiles an attention kernel visits, as lists made on the host.
//!
//! The alternative, arithmetic in the kernel, would need a kernel for each pattern and could not know documents; a list of
//! all tiles would take T² ÷ (QUERIES · KEYS) numbers. These lists hold runs, tiles in arithmetic progression: one run for
//! all unmasked tiles of a full layer, one for the strips of a strided one. So every pattern, mix of patterns by head, document
//! border and span of rows is one kernel, the lists grow with the number of query tiles, and they come out of the block walk that
//! the CPU's kernels use. Made once a batch and pattern, they serve every layer.

use std::ops::Range;

use crate::attention::blocks::{Blocks, QueryBlock};
use crate::attention::{Mask, Shape};

/// Marks a run whose tiles need a mask.
const MASKED: u32 = 1 << 31;
/// `len` and `step` of keys without strips.
const NO_STRIPS: u32 = u32::MAX;

/// `count` tiles of `len & !MASKED` rows, the first at row `at`, one every `step` rows; `Run` of attention.cuh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Run {
    pub(crate) at: u32,
    pub(crate) step: u32,
    pub(crate) count: u32,
    pub(crate) len: u32,
}

/// Which keys a query sees; `Seen` of attention.cuh.
pub(crate) type Row = [u32; 8];

/// The lists of one call; each pattern among the heads has one list.
#[derive(Clone, Debug)]
pub(crate) struct Lists {
    /// Of each query head, `[H]`.
    pub(crate) list_of: Vec<u32>,
    /// Of each query, `[lists, queries]`.
    pub(crate) rows: Vec<Row>,
    /// Key tiles of each query tile.
    pub(crate) keys: Ragged,
    /// Query tiles of each key tile.
    pub(crate) queries: Ragged,
}

/// Runs for each of many places: those of place `i` are `runs[first[i] .. first[i + 1]]`; every list ends with a number of
/// its own, so that a place of list `l` is `l · (places + 1) + i`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ragged {
    pub(crate) first: Vec<u32>,
    pub(crate) runs: Vec<Run>,
}

impl Lists {
    /// Lists for query tiles of `tile.0` rows and key tiles of `tile.1`.
    pub(crate) fn new(mask: &Mask, shape: &Shape, tile: (usize, usize)) -> Lists {
        let blocks = Blocks::new(mask, shape, tile.0);
        let list_of: Vec<u32> = (0..shape.heads).map(|head| blocks.list_of(head) as u32).collect();
        let mut lists = Lists { list_of, rows: Vec::new(), keys: Ragged::default(), queries: Ragged::default() };
        for (list, blocks) in blocks.lists().iter().enumerate() {
            let head = lists.list_of.iter().position(|&of| of == list as u32).unwrap_or(0);
            lists.rows.extend((0..shape.queries).map(|query| row(mask, head, query, shape.keys)));
            lists.keys.push(blocks.iter().map(|block| key_runs(block, tile.1)).collect());
            lists.queries.push(query_runs(blocks, shape.keys, tile));
        }
        lists
    }
}

impl Ragged {
    /// One list.
    fn push(&mut self, places: Vec<Vec<Run>>) {
        for runs in places {
            self.first.push(self.runs.len() as u32);
            self.runs.extend(runs);
        }
        self.first.push(self.runs.len() as u32);
    }

    /// Tiles of the place that has most of them.
    pub(crate) fn most_tiles(&self) -> usize {
        let places = self.first.windows(2).map(|at| self.runs.get(at[0] as usize..at[1] as usize).unwrap_or(&[]));
        places.map(|runs| runs.iter().map(|run| run.count as usize).sum()).max().unwrap_or(0)
    }
}

fn row(mask: &Mask, head: usize, query: usize, keys: usize) -> Row {
    let seen = mask.seen(head, query, keys);
    let (far, near, strips) = (seen.far(), seen.near(), seen.strips());
    let (before, len, step) = match strips {
        // A step beyond all keys is any step beyond all keys.
        Some([before, len, step]) => (before as u32, len.min(1 << 31) as u32, step.min(1 << 31) as u32),
        None => (0, NO_STRIPS, NO_STRIPS),
    };
    [near.start as u32, near.end as u32, far.start as u32, far.end as u32, before, len, step, 0]
}

/// The tiles of `size` keys that a block of queries visits.
fn key_runs(block: &QueryBlock, size: usize) -> Vec<Run> {
    let mut runs = Vec::new();
    for span in &block.spans {
        // Whole tiles of keys that all queries see lie between two runs of masked ones.
        let free = block.shared(span);
        let whole = free.len() / size * size;
        let from = span.start + (free.start - span.start).next_multiple_of(size);
        let to = from.max(span.start + (free.end - span.start) / size * size);
        if whole == 0 || from == to {
            push_span(&mut runs, span.clone(), size, MASKED);
            continue;
        }
        push_span(&mut runs, span.start..from, size, MASKED);
        push_span(&mut runs, from..to, size, 0);
        push_span(&mut runs, to..span.end, size, MASKED);
    }
    runs
}

/// Adds the tiles of a span, the last of which may be short.
fn push_span(runs: &mut Vec<Run>, span: Range<usize>, size: usize, mask: u32) {
    let (whole, rest) = (span.len() / size, span.len() % size);
    let run = |at: usize, count: usize, len: usize, mask: u32| Run {
        at: at as u32,
        step: size as u32,
        count: count as u32,
        len: len as u32 | mask,
    };
    if whole > 0 {
        push(runs, run(span.start, whole, size, mask));
    }
    if rest > 0 {
        push(runs, run(span.start + whole * size, 1, rest, MASKED));
    }
}

/// Adds a run, to the last one where the two are one progression.
fn push(runs: &mut Vec<Run>, next: Run) {
    if let Some(last) = runs.last_mut().filter(|last| last.len == next.len) {
        let apart = next.at - (last.at + last.step * (last.count - 1));
        let step = if last.count == 1 { apart } else { last.step };
        if apart == step && (next.count == 1 || next.step == step) {
            (last.step, last.count) = (step, last.count + next.count);
            return;
        }
    }
    runs.push(next);
}

/// The query tiles that see a key of each key tile.
fn query_runs(blocks: &[QueryBlock], keys: usize, (rows, size): (usize, usize)) -> Vec<Vec<Run>> {
    let mut tiles = vec![Vec::new(); keys.div_ceil(size)];
    for block in blocks {
        let at = block.queries.start;
        // Two spans may touch one tile.
        let mut next = 0;
        for span in &block.spans {
            let free = block.shared(span);
            let touched = (span.start / size).max(next)..span.end.div_ceil(size);
            next = touched.end.max(next);
            for (tile, runs) in touched.clone().zip(tiles.get_mut(touched).into_iter().flatten()) {
                let keys = tile * size..keys.min((tile + 1) * size);
                let whole = keys.len() == size && block.queries.len() == rows;
                let mask = if whole && free.start <= keys.start && keys.end <= free.end { 0 } else { MASKED };
                let len = block.queries.len() as u32 | mask;
                push(runs, Run { at: at as u32, step: rows as u32, count: 1, len });
            }
        }
    }
    tiles
}

#[cfg(test)]
mod tests {
    use super::{Lists, MASKED, NO_STRIPS, Ragged, Row, Run};
    use crate::attention::{Mask, Pattern, Patterns, Shape};
    use crate::conformance::Random;

    fn tiles(ragged: &Ragged, place: usize) -> Vec<(usize, usize, bool)> {
        let runs = &ragged.runs[ragged.first[place] as usize..ragged.first[place + 1] as usize];
        let tiles = |run: &Run| {
            let Run { at, step, count, len } = *run;
            (0..count).map(move |i| ((at + i * step) as usize, (len & !MASKED) as usize, len & MASKED != 0))
        };
        runs.iter().flat_map(tiles).collect()
    }

    fn sees(row: &Row, key: usize) -> bool {
        let [near, near_to, far, far_to, before, len, step, _] = row.map(|v| v as usize);
        let strip = step == NO_STRIPS as usize || (key.wrapping_sub(far) + before) % step < len;
        (near..near_to).contains(&key) || (far..far_to).contains(&key) && strip
    }

    /// Both lists visit exactly the tiles in which a pair is visible, once, and mask what has to be masked; the rows are the mask.
    #[test]
    fn lists_are_the_mask() {
        let mut random = Random::new(5);
        for _ in 0..600 {
            let pattern = |random: &mut Random| match random.below(6) {
                0 => Pattern::Full,
                1 => Pattern::Window { window: random.below(30), sink: random.below(9) },
                2 => Pattern::Group { size: 1 + random.below(40), shift: random.below(20) },
                3 => Pattern::Past { size: 1 + random.below(12), nearest: 1, farthest: 1 + random.below(3) },
                4 => Pattern::Beyond { window: 1 + random.below(20) },
                _ => Pattern::Strided { block: 1 + random.below(10), stride: 1 + random.below(4), local: 1 },
            };
            let patterns = [pattern(&mut random), pattern(&mut random)];
            let (queries, keys) = (1 + random.below(90), 1 + random.below(90));
            let (query_row, key_row) = (random.below(60), random.below(60));
            let border = random.below(queries);
            let starts: Vec<usize> = (0..queries).map(|i| if i < border { 0 } else { query_row + border }).collect();
            let mask = Mask { patterns: Patterns::PerHead(&patterns), query_row, key_row, starts: &starts };
            let shape = Shape { queries, keys, heads: 2, kv_heads: 1, head_dim: 16 };
            holds(&mask, &shape, [(16, 8), (8, 16), (16, 16)][random.below(3)]);
        }
    }

    fn holds(mask: &Mask, shape: &Shape, size: (usize, usize)) {
        let lists = Lists::new(mask, shape, size);
        let (query_tiles, key_tiles) = (shape.queries.div_ceil(size.0), shape.keys.div_ceil(size.1));
        for head in 0..2 {
            let list = lists.list_of[head] as usize;
            for query in 0..shape.queries {
                let row = &lists.rows[list * shape.queries + query];
                assert!((0..shape.keys).all(|key| sees(row, key) == mask.visible(head, query, key)), "{mask:?}");
            }
            for tile in 0..query_tiles {
                let rows = tile * size.0..shape.queries.min((tile + 1) * size.0);
                let visible = |key: usize| rows.clone().any(|query| mask.visible(head, query, key));
                let visited = tiles(&lists.keys, list * (query_tiles + 1) + tile);
                let keys: Vec<usize> = visited.iter().flat_map(|&(at, len, _)| at..at + len).collect();
                assert_eq!(keys, (0..shape.keys).filter(|&key| visible(key)).collect::<Vec<_>>(), "{mask:?}");
                for (at, len, masked) in visited {
                    let all = rows.clone().all(|query| (at..at + len).all(|key| mask.visible(head, query, key)));
                    assert!(masked || all && len == size.1, "{mask:?}");
                }
            }
            for tile in 0..key_tiles {
                let keys = tile * size.1..shape.keys.min((tile + 1) * size.1);
                let sees_some = |rows: std::ops::Range<usize>| {
                    rows.into_iter().any(|query| keys.clone().any(|key| mask.visible(head, query, key)))
                };
                let rows = |at: usize| at..shape.queries.min(at + size.0);
                let expected: Vec<usize> =
                    (0..query_tiles).map(|tile| tile * size.0).filter(|&at| sees_some(rows(at))).collect();
                let visited = tiles(&lists.queries, list * (key_tiles + 1) + tile);
                assert_eq!(visited.iter().map(|tile| tile.0).collect::<Vec<_>>(), expected, "{mask:?}");
                for (at, len, masked) in visited {
                    let all = rows(at).all(|query| keys.clone().all(|key| mask.visible(head, query, key)));
                    assert!(masked || all && keys.len() == size.1, "{mask:?}");
                    assert_eq!(len, rows(at).len());
                }
            }
        }
    }
}
