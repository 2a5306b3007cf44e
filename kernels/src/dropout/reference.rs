//! Naive dropout.

use super::{Mask, bits};

/// Each value by itself, in f64: its draw as a number in [0, 1) against the rate.
pub(super) fn apply(mask: Mask, x: &[f32]) -> Vec<f64> {
    let rate = f64::from(mask.rate);
    let one = |(index, x): (usize, &f32)| {
        let draw = f64::from(bits(mask.seed, index as u64)) / 4_294_967_296.0;
        if draw < rate { 0.0 } else { f64::from(*x) / (1.0 - rate) }
    };
    x.iter().enumerate().map(one).collect()
}
