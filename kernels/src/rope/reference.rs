//! Naive rotation.

use crate::conformance::Real;

/// Turns `x` `[T, heads, D]`; `sign` is 1 forward, −1 backward.
pub(crate) fn apply<R: Real>(inv_freq: &[f64], factor: f64, positions: &[u32], heads: usize, x: &mut [R], sign: f64) {
    let half = inv_freq.len();
    for (t, &position) in positions.iter().enumerate() {
        for h in 0..heads {
            for (i, frequency) in inv_freq.iter().enumerate() {
                let (s, c) = (f64::from(position) * frequency).sin_cos();
                let (s, c) = (R::of(s * factor * sign), R::of(c * factor));
                let at = (t * heads + h) * 2 * half + i;
                let (a, b) = (x[at], x[at + half]);
                x[at] = a * c - b * s;
                x[at + half] = b * c + a * s;
            }
        }
    }
}
