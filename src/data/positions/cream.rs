//! CREAM (arXiv 2406.07138): head and tail stay where they are, a middle piece is drawn around the centre.

use crate::data::Rng;

/// Points at which the distribution of the middle is tabulated, as released.
const POINTS: usize = 1000;

/// Head, middle and tail of a sequence of `len` tokens in a window of `reach`.
pub(super) fn positions(len: usize, reach: usize, sigma: f64, rng: &mut Rng) -> Vec<u32> {
    let factor = reach as f64 / len as f64;
    // Continuity keeps the middle next to head and tail, relativity gives all three the same weight.
    let side = if rng.chance(50) { len / 3 } else { ((4.0 * factor) as usize).min(len / 3) };
    let middle = len - 2 * side;
    if side == 0 || reach == len {
        return (0..len as u32).collect();
    }
    let around = truncated_normal(factor, sigma, unit(rng)).floor();
    let first = side as f64 + (middle - 1) as f64 * around / 2.0;
    let last = (around / 2.0 * len as f64) as usize;
    // The middle stays between head and tail, whatever the rounding.
    let lowest = (first as usize).clamp(side + middle - 1, reach - side - 1);
    let highest = last.saturating_sub(side + 1).clamp(lowest, reach - side - 1);
    let end = lowest + rng.below(highest - lowest + 1);
    let head = 0..side;
    let centre = end + 1 - middle..end + 1;
    let tail = reach - side..reach;
    head.chain(centre).chain(tail).map(|position| position as u32).collect()
}

/// The value at which the tabulated distribution function of N(1 + factor, sigma²) on [2, 2 factor] reaches `share`. What
/// the cut takes off gathers at the two ends, as released.
fn truncated_normal(factor: f64, sigma: f64, share: f64) -> f64 {
    let point = |index: usize| 2.0 + (2.0 * factor - 2.0) * index as f64 / (POINTS - 1) as f64;
    let below = |x: f64| normal((x - (1.0 + factor)) / sigma);
    let upper = (0..POINTS).find(|&index| below(point(index)) >= share);
    match upper {
        Some(0) => point(0),
        None => point(POINTS - 1),
        Some(index) => {
            let (low, high) = (below(point(index - 1)), below(point(index)));
            point(index - 1) + (share - low) / (high - low) * (point(index) - point(index - 1))
        }
    }
}

/// The standard normal distribution function (Abramowitz and Stegun 7.1.26, error below 1.5e-7).
fn normal(x: f64) -> f64 {
    let z = x.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let series =
        t * (0.254_829_592 + t * (-0.284_496_736 + t * (1.421_413_741 + t * (-1.453_152_027 + t * 1.061_405_429))));
    let erf = 1.0 - series * (-z * z).exp();
    if x < 0.0 { (1.0 - erf) / 2.0 } else { (1.0 + erf) / 2.0 }
}

/// A number in [0, 1).
fn unit(rng: &mut Rng) -> f64 {
    (rng.bits() >> 11) as f64 / (1_u64 << 53) as f64
}
