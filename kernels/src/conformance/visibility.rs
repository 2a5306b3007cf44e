//! Properties of the mask itself.

use super::Random;
use crate::attention::{Mask, Pattern};

/// A random mask over few rows, with every kind of border.
fn random_mask(random: &mut Random, starts: &mut Vec<usize>) -> (Pattern, usize, usize, usize) {
    let (queries, keys, query_row, key_row) =
        (1 + random.below(40), random.below(60), random.below(30), random.below(30));
    let pattern = match random.below(3) {
        0 => Pattern::Full,
        _ => Pattern::Window { window: random.below(20), sink: random.below(6) },
    };
    starts.clear();
    let mut start = random.below(query_row + 1);
    for i in 0..queries {
        if random.below(8) == 0 {
            start = query_row + i;
        }
        starts.push(start);
    }
    (pattern, keys, query_row, key_row)
}

/// The two ranges of a query are exactly the keys it sees, in order, none twice.
#[test]
fn ranges_are_the_visible_keys() {
    let mut random = Random::new(1);
    let mut starts = Vec::new();
    for _ in 0..2000 {
        let (pattern, keys, query_row, key_row) = random_mask(&mut random, &mut starts);
        let mask = Mask { pattern, query_row, key_row, starts: &starts };
        for i in 0..starts.len() {
            let listed: Vec<usize> = mask.ranges(i, keys).into_iter().flatten().collect();
            let visible: Vec<usize> = (0..keys).filter(|&j| mask.visible(i, j)).collect();
            assert_eq!(listed, visible, "query {i} of {mask:?}");
        }
    }
}

/// The window counts the query's own token; sinks are counted from the document's start; nothing crosses a border.
#[test]
fn borders() {
    let starts = [0, 0, 0, 0, 0, 5, 5, 5, 5, 5, 5, 5];
    let mask = Mask { pattern: Pattern::Window { window: 2, sink: 1 }, query_row: 0, key_row: 0, starts: &starts };
    let seen = |i: usize| -> Vec<usize> { (0..12).filter(|&j| mask.visible(i, j)).collect() };
    assert_eq!(seen(0), [0]);
    assert_eq!(seen(4), [0, 3, 4]);
    assert_eq!(seen(5), [5]);
    assert_eq!(seen(6), [5, 6]);
    assert_eq!(seen(11), [5, 10, 11]);
}
