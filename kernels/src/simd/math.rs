//! Elementary functions on registers.

use super::vector::Vector;

/// Minimax polynomial of `2^x` on `[−½, ½]` with constant term 1, highest degree first: relative error 2.6e-9 before
/// rounding.
const EXP2: [f32; 7] =
    [1.559_468_1e-4, 1.340_664_4e-3, 9.617_693e-3, 5.550_310_6e-2, 2.402_265_3e-1, 6.931_472e-1, 1.0];
/// Below this exponent `2^x` is not a normal number.
const LOW: f32 = -126.0;
/// `ln 2` in two parts, the first so short that its products with small whole numbers are exact (Cody & Waite).
const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];

/// `2^x` for values up to 127: exactly 1 at 0, exactly 0 at −∞ and wherever the result would not be normal, within 2 ulp
/// elsewhere; NaN stays NaN.
///
/// # Safety
/// The processor has the instruction set of `V`.
#[inline(always)]
pub(crate) unsafe fn exp2<V: Vector>(x: V) -> V {
    // SAFETY: the caller's promise.
    unsafe {
        let low = V::splat(LOW);
        let clamped = low.max(x);
        let n = clamped.round();
        polynomial(clamped.minus(n)).times_power(n).keep_from(x, low)
    }
}

/// `e^x` for values up to 88, zero where the result would not be normal; as exact as [`exp2`].
///
/// # Safety
/// The processor has the instruction set of `V`.
#[inline(always)]
pub(crate) unsafe fn exp<V: Vector>(x: V) -> V {
    // SAFETY: the caller's promise.
    unsafe {
        let low = V::splat(LOW * std::f32::consts::LN_2);
        let clamped = low.max(x);
        let log2_e = V::splat(std::f32::consts::LOG2_E);
        let n = clamped.times(log2_e).round();
        let rest = n.mul_add(V::splat(-LN_2[1]), n.mul_add(V::splat(-LN_2[0]), clamped));
        polynomial(rest.times(log2_e)).times_power(n).keep_from(x, low)
    }
}

/// `1 / (1 + e^−x)`.
///
/// # Safety
/// The processor has the instruction set of `V`.
#[inline(always)]
pub(crate) unsafe fn sigmoid<V: Vector>(x: V) -> V {
    // SAFETY: the caller's promise.
    unsafe {
        let one = V::splat(1.0);
        // Beyond −87 the exponential would overflow; sigmoid is 0 to all digits long before.
        let bounded = V::splat(-87.0).max(x);
        one.over(one.plus(exp(V::splat(0.0).minus(bounded))))
    }
}

/// Horner's rule over [`EXP2`].
#[inline(always)]
unsafe fn polynomial<V: Vector>(x: V) -> V {
    // SAFETY: the caller's promise.
    unsafe {
        let mut p = V::splat(EXP2[0]);
        for c in &EXP2[1..] {
            p = p.mul_add(x, V::splat(*c));
        }
        p
    }
}

/// Applies one of these functions to a slice, for the tests.
#[cfg(test)]
pub(crate) mod slices {
    use super::super::{each_register, multiversion, vector::Vector};

    multiversion!(pub(crate) fn exp(values: &mut [f32]) => exp_body);
    multiversion!(pub(crate) fn exp2(values: &mut [f32]) => exp2_body);

    #[inline(always)]
    fn exp_body<V: Vector>(values: &mut [f32]) {
        // SAFETY: the macro enables the instruction set; the registers lie inside the slice.
        unsafe { each_register!(V, values.len(), |at| at.put(values, super::exp::<V>(at.get(values)))) }
    }

    #[inline(always)]
    fn exp2_body<V: Vector>(values: &mut [f32]) {
        // SAFETY: as above.
        unsafe { each_register!(V, values.len(), |at| at.put(values, super::exp2::<V>(at.get(values)))) }
    }
}
