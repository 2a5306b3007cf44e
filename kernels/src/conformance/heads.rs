//! Attention whose query heads have patterns of their own, and keys that nobody sees.

use super::attention::{Case, PATTERNS, square, starts};
use super::{Random, label, same_bits_on_any_threads};
use crate::attention::{Mask, Pattern, Patterns, Shape};
use crate::simd::Isa;

const WINDOW: Pattern = Pattern::Window { window: 20, sink: 3 };
const STRIDED: Pattern = Pattern::Strided { block: 8, stride: 4, local: 2 };
const GROUPS: [Pattern; 2] = [Pattern::Group { size: 40, shift: 0 }, Pattern::Group { size: 40, shift: 20 }];

/// Patterns of six query heads over two key/value heads: a key/value head full and one with a window, half of the heads
/// shifted (the border lies inside a key/value head when there are three), all of them different.
pub(super) const MIXES: [[Pattern; 6]; 4] = [
    [Pattern::Full, Pattern::Full, Pattern::Full, WINDOW, WINDOW, WINDOW],
    [GROUPS[0], GROUPS[0], GROUPS[0], GROUPS[1], GROUPS[1], GROUPS[1]],
    [GROUPS[0], GROUPS[1], GROUPS[0], GROUPS[1], GROUPS[0], GROUPS[1]],
    [WINDOW, Pattern::Full, STRIDED, GROUPS[0], Pattern::Window { window: 0, sink: 1 }, GROUPS[1]],
];

/// Mixes over several blocks, documents and ways to share key/value heads.
pub(crate) fn mixed(isa: Isa) {
    let starts = starts(170, &[1, 75]);
    for kv_heads in [1, 2, 3, 6] {
        let case = Case::new(21, 170, 170, 6, kv_heads, 16);
        for patterns in &MIXES {
            let mask = Mask { patterns: Patterns::PerHead(patterns), query_row: 0, key_row: 0, starts: &starts };
            case.check(isa, &mask);
        }
    }
}

/// Few and many queries against pieces of a longer sequence.
pub(crate) fn decoding(isa: Isa) {
    for (queries, keys, query_row, key_row, start) in
        [(1, 200, 199, 0, 0), (3, 120, 250, 80, 30), (1, 1500, 1499, 0, 13), (40, 300, 260, 0, 0), (2, 50, 300, 0, 0)]
    {
        let starts = vec![start; queries];
        // Other numbers each time: working memory keeps those of the case before.
        for (seed, patterns) in (30..).zip(&MIXES) {
            let mask = Mask { patterns: Patterns::PerHead(patterns), query_row, key_row, starts: &starts };
            Case::new(seed, queries, keys, 6, 2, 32).check(isa, &mask);
        }
    }
}

/// Attention over two halves of the keys, merged through the log-sum-exps, is attention over all.
pub(crate) fn pieces_merge(isa: Isa) {
    let (t, heads, d) = (150, 2, 32);
    let whole = Case::new(14, t, t, heads, heads, d);
    let starts = starts(t, &[20]);
    for pattern in PATTERNS {
        let half = |from: usize, to: usize| {
            let rows = from * heads * d..to * heads * d;
            let piece = Case {
                shape: Shape { keys: to - from, ..whole.shape },
                scale: whole.scale,
                q: whole.q.clone(),
                k: whole.k[rows.clone()].to_vec(),
                v: whole.v[rows].to_vec(),
                dout: Vec::new(),
            };
            piece.forward(isa, &Mask { key_row: from, ..square(pattern, &starts) })
        };
        let (out, lse) = whole.forward(isa, &square(pattern, &starts));
        let ((out_a, lse_a), (out_b, lse_b)) = (half(0, 77), half(77, t));
        for (row, &total) in lse.iter().enumerate() {
            if total == f32::NEG_INFINITY {
                assert_eq!((lse_a[row], lse_b[row]), (total, total), "{pattern:?}, row {row} sees nothing");
                continue;
            }
            let (a, b) = ((lse_a[row] - total).exp(), (lse_b[row] - total).exp());
            assert!((a + b - 1.0).abs() < 1e-5, "{pattern:?}, row {row}: shares {a} and {b}");
            for c in row * d..(row + 1) * d {
                let merged = a * out_a[c] + b * out_b[c];
                assert!((merged - out[c]).abs() < 1e-5, "{pattern:?}, row {row}: {merged} instead of {}", out[c]);
            }
        }
    }
}

/// A key of NaN spoils every block of queries that visits it: those that cannot see it have to stay clean.
pub(crate) fn unseen(isa: Isa) {
    let mut random = Random::new(23);
    for t in [14, 300] {
        let starts = starts(t, &[t / 3]);
        for pattern in PATTERNS {
            let patterns = [pattern, Pattern::Window { window: 5, sink: 0 }];
            let mask = Mask { patterns: Patterns::PerHead(&patterns), ..square(pattern, &starts) };
            (0..8).for_each(|_| stays_clean(isa, &mask, t, random.below(t)));
        }
    }
}

fn stays_clean(isa: Isa, mask: &Mask, t: usize, key: usize) {
    let (heads, dim) = (2, 16);
    let mut case = Case::new(24, t, t, heads, 1, dim);
    let (out, lse) = case.forward(isa, mask);
    case.k[key * dim..][..dim].fill(f32::NAN);
    case.v[key * dim..][..dim].fill(f32::NAN);
    let (spoilt, _) = case.forward(isa, mask);
    let [dq, ..] = case.backward(isa, mask, &out, &lse);
    for block in (0..t).step_by(32) {
        let queries = block..t.min(block + 32);
        for head in (0..heads).filter(|&head| !queries.clone().any(|query| mask.visible(head, query, key))) {
            let clean = |values: &[f32]| {
                queries.clone().all(|query| values[(query * heads + head) * dim..][..dim].iter().all(|v| v.is_finite()))
            };
            let what =
                label(isa, &format!("queries {queries:?} of head {head} visit key {key} under {:?}", mask.patterns));
            assert!(clean(&spoilt) && clean(&dq), "{what}");
        }
    }
}

/// The number of threads changes no bit.
pub(crate) fn threads(isa: Isa) {
    for t in [3, 600] {
        let (case, starts) = (Case::new(25, t, t, 6, 2, 16), vec![0; t]);
        for patterns in &MIXES {
            let mask = Mask { patterns: Patterns::PerHead(patterns), query_row: 0, key_row: 0, starts: &starts };
            same_bits_on_any_threads(&label(isa, "mixed heads"), || {
                let (out, lse) = case.forward(isa, &mask);
                let gradients = case.backward(isa, &mask, &out, &lse);
                [out, lse].into_iter().chain(gradients).flatten().collect()
            });
        }
    }
}
