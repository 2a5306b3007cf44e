//! Elementary functions as polynomials the compiler can vectorise.

use super::mul_add;
#[cfg(test)]
use super::multiversion;

/// `exp(x)`: 2 ulp over the normal range (measured in the tests), 0 below −87.3, `f32::MAX`-sized but finite-or-inf
/// above 88.7; NaN stays NaN.
///
/// Cody–Waite reduction to `|r| ≤ ln2 / 2`, then the degree-6 minimax polynomial of Cephes `expf`.
#[inline(always)]
#[allow(clippy::excessive_precision, reason = "the digits of the published coefficients")]
pub(crate) fn exp<const FMA: bool>(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 · 2²³: adding it rounds to the nearest integer
    let clamped = if x > 88.722_83 { 88.722_83 } else { x };
    let clamped = if clamped < -87.336_54 { -87.336_54 } else { clamped };
    let shifted = mul_add::<FMA>(clamped, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = mul_add::<FMA>(n, -0.693_359_375, clamped);
    let r = mul_add::<FMA>(n, 2.121_944_4e-4, r);
    let mut p = 1.987_569_15e-4_f32;
    p = mul_add::<FMA>(p, r, 1.398_199_95e-3);
    p = mul_add::<FMA>(p, r, 8.333_451_9e-3);
    p = mul_add::<FMA>(p, r, 4.166_579_6e-2);
    p = mul_add::<FMA>(p, r, 1.666_666_55e-1);
    p = mul_add::<FMA>(p, r, 5.000_000_1e-1);
    let p = mul_add::<FMA>(p, r * r, r) + 1.0;
    // 2ⁿ in two factors, since n reaches 128.
    let n = n as i32;
    let half = n >> 1;
    let power = |e: i32| f32::from_bits(((e + 127) << 23) as u32);
    let value = p * power(half) * power(n - half);
    if x < -87.336_54 { 0.0 } else { value }
}

#[cfg(test)]
multiversion!(pub(crate) fn exp_slice(values: &mut [f32]) => exp_body);

#[cfg(test)]
#[inline(always)]
fn exp_body<const FMA: bool>(values: &mut [f32]) {
    values.iter_mut().for_each(|v| *v = exp::<FMA>(*v));
}
