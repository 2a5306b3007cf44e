//! Naive bias.

use crate::conformance::Real;

/// `y[t] + bias`.
pub(crate) fn forward<R: Real>(bias: &[R], y: &[R]) -> Vec<R> {
    y.iter().enumerate().map(|(at, &v)| v + bias[at % bias.len()]).collect()
}

/// Column by column the sum of all rows.
pub(crate) fn backward<R: Real>(dy: &[R], width: usize) -> Vec<R> {
    (0..width).map(|column| dy.iter().skip(column).step_by(width).copied().sum()).collect()
}
