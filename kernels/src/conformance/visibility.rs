//! Properties of the mask itself.

use super::Random;
use crate::attention::blocks::{Blocks, QueryBlock};
use crate::attention::{Mask, Pattern, Patterns, Shape, forward};

/// A random mask over few rows, with every kind of border.
struct Drawn {
    patterns: Vec<Pattern>,
    keys: usize,
    query_row: usize,
    key_row: usize,
    starts: Vec<usize>,
}

impl Drawn {
    fn new(random: &mut Random) -> Drawn {
        let (queries, keys, query_row, key_row) =
            (1 + random.below(40), random.below(60), random.below(30), random.below(30));
        let mut starts = Vec::new();
        let mut start = random.below(query_row + 1);
        for i in 0..queries {
            if random.below(8) == 0 {
                start = query_row + i;
            }
            starts.push(start);
        }
        let patterns = (0..1 + random.below(3)).map(|_| pattern(random)).collect();
        Drawn { patterns, keys, query_row, key_row, starts }
    }

    fn mask(&self) -> Mask<'_> {
        let Drawn { query_row, key_row, starts, .. } = self;
        let patterns = Patterns::PerHead(&self.patterns);
        Mask { patterns, query_row: *query_row, key_row: *key_row, starts }
    }
}

fn pattern(random: &mut Random) -> Pattern {
    match random.below(7) {
        0 => Pattern::Full,
        1 => Pattern::Window { window: random.below(20), sink: random.below(6) },
        2 => Pattern::Group { size: 1 + random.below(20), shift: random.below(30) },
        3 => Pattern::Past { size: 1 + random.below(12), nearest: 1 + random.below(3), farthest: random.below(5) },
        4 => Pattern::Beyond { window: 1 + random.below(20) },
        _ => {
            let [block, stride, local] = [10, 5, 4].map(|most| 1 + random.below(most));
            Pattern::Strided { block, stride, local }
        }
    }
}

/// The ranges of a query are exactly the keys it sees, in order, none twice, none empty.
#[test]
fn ranges_are_the_visible_keys() {
    let mut random = Random::new(1);
    for _ in 0..4000 {
        let drawn = Drawn::new(&mut random);
        let mask = drawn.mask();
        for (head, i) in (0..drawn.patterns.len()).flat_map(|head| (0..drawn.starts.len()).map(move |i| (head, i))) {
            let visible: Vec<usize> = (0..drawn.keys).filter(|&j| mask.visible(head, i, j)).collect();
            let listed: Vec<usize> = mask.ranges(head, i, drawn.keys).flatten().collect();
            assert_eq!(listed, visible, "query {i} of head {head}, {mask:?}");
            assert!(mask.ranges(head, i, drawn.keys).all(|range| !range.is_empty()), "{mask:?}");
        }
    }
}

/// A block of queries visits the keys that one of its queries sees and no other, and masks all that not every one sees.
#[test]
fn blocks_visit_what_their_queries_see() {
    let mut random = Random::new(2);
    for _ in 0..4000 {
        let drawn = Drawn::new(&mut random);
        let shape = Shape {
            queries: drawn.starts.len(),
            keys: drawn.keys,
            heads: drawn.patterns.len(),
            kv_heads: 1,
            head_dim: 1,
        };
        let blocks = Blocks::new(&drawn.mask(), &shape, 1 + random.below(20));
        let (from, size) = (random.below(drawn.keys + 1), 8 * (1 + random.below(3)));
        for head in 0..shape.heads {
            blocks.of(head).iter().for_each(|block| holds(&drawn, head, block, from, size));
        }
    }
}

fn holds(drawn: &Drawn, head: usize, block: &QueryBlock, from: usize, size: usize) {
    let (mask, keys) = (drawn.mask(), drawn.keys);
    let sees = |&key: &usize| block.queries.clone().any(|query| mask.visible(head, query, key));
    let all_see = |key: usize| block.queries.clone().all(|query| mask.visible(head, query, key));
    let seen: Vec<usize> = (from..keys).filter(sees).collect();
    let tiles: Vec<_> = block.tiles(from..keys, size).collect();
    assert!(tiles.iter().all(|tile| !tile.is_empty() && tile.len() <= size), "{tiles:?}");
    assert!(tiles.iter().all(|tile| block.shared(tile).all(all_see)), "{:?} of head {head}, {mask:?}", block.queries);
    assert_eq!(tiles.into_iter().flatten().collect::<Vec<_>>(), seen, "{:?} of head {head}, {mask:?}", block.queries);
    let hull = seen.first().map(|&first| first..seen[seen.len() - 1] + 1);
    assert_eq!(block.visited(&(from..keys)), hull, "{:?} of head {head}, {mask:?}", block.queries);
    let pieces = block.pieces(keys, size);
    let in_piece = |piece: &std::ops::Range<usize>| block.tiles(piece.clone(), 8).flatten().collect::<Vec<_>>();
    assert!(pieces.iter().all(|piece| in_piece(piece).len() <= size));
    assert_eq!(pieces.iter().flat_map(in_piece).collect::<Vec<_>>(), (0..keys).filter(sees).collect::<Vec<_>>());
}

/// Heads of the same pattern share their blocks.
#[test]
fn one_list_for_a_pattern() {
    let patterns = [Pattern::Full, Pattern::Group { size: 4, shift: 2 }, Pattern::Full];
    let mask = Mask { patterns: Patterns::PerHead(&patterns), query_row: 0, key_row: 0, starts: &[0; 9] };
    let shape = Shape { queries: 9, keys: 9, heads: 3, kv_heads: 1, head_dim: 1 };
    let blocks = Blocks::new(&mask, &shape, 4);
    assert_eq!((blocks.lists().len(), blocks.list_of(0), blocks.list_of(2), blocks.count()), (2, 0, 0, 3));
}

/// The window counts the query's own token; sinks, blocks and groups are counted from the document's start; nothing
/// crosses a border.
#[test]
fn borders() {
    let starts = [0, 0, 0, 0, 0, 5, 5, 5, 5, 5, 5, 5];
    let seen = |pattern: Pattern, i: usize| -> Vec<usize> {
        let mask = Mask { patterns: pattern.into(), query_row: 0, key_row: 0, starts: &starts };
        (0..12).filter(|&j| mask.visible(0, i, j)).collect()
    };
    let window = Pattern::Window { window: 2, sink: 1 };
    assert_eq!(seen(window, 0), [0]);
    assert_eq!(seen(window, 4), [0, 3, 4]);
    assert_eq!(seen(window, 5), [5]);
    assert_eq!(seen(window, 6), [5, 6]);
    assert_eq!(seen(window, 11), [5, 10, 11]);
    let strided = Pattern::Strided { block: 2, stride: 2, local: 1 };
    assert_eq!(seen(strided, 3), [0, 1, 2, 3]);
    assert_eq!(seen(strided, 5), [5]);
    assert_eq!(seen(strided, 9), [5, 6, 9]);
    assert_eq!(seen(strided, 11), [5, 6, 9, 10, 11]);
    let (group, shifted) = (Pattern::Group { size: 4, shift: 0 }, Pattern::Group { size: 4, shift: 2 });
    assert_eq!(seen(group, 4), [4]);
    assert_eq!(seen(group, 8), [5, 6, 7, 8]);
    assert_eq!(seen(group, 10), [9, 10]);
    assert_eq!(seen(shifted, 6), [5, 6]);
    assert_eq!(seen(shifted, 10), [7, 8, 9, 10]);
    assert_eq!(seen(shifted, 11), [11]);
}

fn call(patterns: Patterns) {
    let shape = Shape { queries: 1, keys: 1, heads: 2, kv_heads: 1, head_dim: 1 };
    let mask = Mask { patterns, query_row: 0, key_row: 0, starts: &[0] };
    forward(&shape, &mask, 1.0, &[0.0; 2], &[0.0], &[0.0], &mut [0.0; 2], &mut [0.0; 2]);
}

#[test]
#[should_panic(expected = "at least 1")]
fn a_group_holds_keys() {
    call(Pattern::Group { size: 0, shift: 0 }.into());
}

#[test]
#[should_panic(expected = "at least 1")]
fn a_stride_is_a_step() {
    call(Patterns::PerHead(&[Pattern::Full, Pattern::Strided { block: 4, stride: 0, local: 1 }]));
}

#[test]
#[should_panic(expected = "`patterns` holds 1 values")]
fn every_head_has_a_pattern() {
    call(Patterns::PerHead(&[Pattern::Full]));
}
