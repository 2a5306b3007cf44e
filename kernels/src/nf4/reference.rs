//! Naive quantisation, single level of scales.

use crate::conformance::{Real, max};

/// Index of the code value nearest to `x`, the first of equals.
pub(crate) fn nearest<R: Real>(code: &[f32], x: R) -> u8 {
    let distance = |i: &usize| {
        let d = R::of(f64::from(code[*i])) - x;
        if d < R::of(0.0) { -d } else { d }
    };
    let mut best = 0;
    for i in 1..code.len() {
        if distance(&i) < distance(&best) {
            best = i;
        }
    }
    best as u8
}

/// The code index of every weight, in blocks that share a scale.
pub(crate) fn codes<R: Real>(code: &[f32], block: usize, values: &[R]) -> Vec<u8> {
    let size = |v: &R| if *v < R::of(0.0) { -*v } else { *v };
    values
        .chunks(block)
        .flat_map(|values| {
            let scale = max(&values.iter().map(size).collect::<Vec<R>>());
            values.iter().map(move |&v| nearest(code, if scale > R::of(0.0) { v / scale } else { v }))
        })
        .collect()
}
