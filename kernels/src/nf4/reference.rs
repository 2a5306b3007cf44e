//! Naive nearest-value search in `f64`.

/// Index of the code value nearest to `x`, the first of equals.
pub(crate) fn nearest(code: &[f32], x: f64) -> u8 {
    let distance = |i: &usize| (f64::from(code[*i]) - x).abs();
    let best = (0..code.len()).min_by(|a, b| distance(a).total_cmp(&distance(b)));
    best.unwrap_or(0) as u8
}
