//! Naive RMSNorm.

use crate::conformance::Real;

fn inverse_rms<R: Real>(row: &[R], eps: f64) -> R {
    let mean = row.iter().map(|&v| v * v).sum::<R>() / R::of(row.len() as f64);
    R::of(1.0) / (mean + R::of(eps)).sqrt()
}

/// `x / sqrt(mean(x²) + eps) · weight`.
pub(crate) fn forward<R: Real>(x: &[R], weight: &[R], eps: f64) -> Vec<R> {
    x.chunks(weight.len())
        .flat_map(|row| {
            let inv = inverse_rms(row, eps);
            row.iter().zip(weight).map(move |(&v, &w)| v * inv * w)
        })
        .collect()
}

/// Gradients of `x` and `weight`.
pub(crate) fn backward<R: Real>(x: &[R], weight: &[R], eps: f64, dy: &[R]) -> (Vec<R>, Vec<R>) {
    let hidden = weight.len();
    let (mut dx, mut dweight) = (Vec::new(), vec![R::of(0.0); hidden]);
    for (row, drow) in x.chunks(hidden).zip(dy.chunks(hidden)) {
        let inv = inverse_rms(row, eps);
        let dot: R = (0..hidden).map(|c| drow[c] * weight[c] * row[c]).sum();
        for c in 0..hidden {
            dweight[c] += drow[c] * row[c] * inv;
            dx.push(inv * (drow[c] * weight[c] - row[c] * inv * inv * dot / R::of(hidden as f64)));
        }
    }
    (dx, dweight)
}
