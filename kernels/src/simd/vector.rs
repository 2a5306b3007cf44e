//! One vector register of `f32`, the same operations on every instruction set.

/// A register of [`Vector::LANES`] values.
///
/// # Safety
/// Every method may be called only where the processor has the type's instruction set, and inside a function that
/// enables it (elsewhere the call is correct but slow). Pointers must be valid for `LANES` values; any alignment will do.
pub(crate) trait Vector: Copy {
    /// Values per register.
    const LANES: usize;
    /// The same value in every lane.
    unsafe fn splat(value: f32) -> Self;
    /// Reads `LANES` values.
    unsafe fn load(from: *const f32) -> Self;
    /// Writes `LANES` values.
    unsafe fn store(self, to: *mut f32);
    /// Lane-wise sum.
    unsafe fn plus(self, other: Self) -> Self;
    /// Lane-wise difference.
    unsafe fn minus(self, other: Self) -> Self;
    /// Lane-wise product.
    unsafe fn times(self, other: Self) -> Self;
    /// `self · factor + addend`, rounded once where the instruction set can.
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self;
    /// Lane-wise larger value; `other` where either is NaN.
    unsafe fn max(self, other: Self) -> Self;
    /// `self` where `at` lies in either half-open range `[low, high)`, else −∞.
    unsafe fn keep_within(self, at: Self, ranges: [[Self; 2]; 2]) -> Self;
    /// Lane-wise: the first where it is not −∞, else 0.
    unsafe fn zero_if_minus_infinity(self) -> Self;
    /// `2^self` for values up to 127, exactly 1 at 0, exactly 0 at −∞ and wherever the result would not be normal.
    /// Within 2 ulp elsewhere; NaN stays NaN.
    unsafe fn exp2(self) -> Self;
}

/// Minimax polynomial of `2^x` on `[−½, ½]` with constant term 1, highest degree first: relative error 2.6e-9 before
/// rounding.
const EXP2: [f32; 7] =
    [1.559_468_1e-4, 1.340_664_4e-3, 9.617_693e-3, 5.550_310_6e-2, 2.402_265_3e-1, 6.931_472e-1, 1.0];
/// Below this exponent `2^x` is not a normal number.
const EXP2_LOW: f32 = -126.0;

/// Horner's rule over [`EXP2`].
#[inline(always)]
unsafe fn exp2_polynomial<V: Vector>(x: V) -> V {
    // SAFETY: the caller has the instruction set.
    unsafe {
        let mut p = V::splat(EXP2[0]);
        for c in &EXP2[1..] {
            p = p.mul_add(x, V::splat(*c));
        }
        p
    }
}

/// Four lanes in plain Rust, for the compiler to vectorise with what the target guarantees.
#[derive(Clone, Copy)]
#[repr(align(16))]
pub(crate) struct Portable([f32; 4]);

impl Portable {
    #[inline(always)]
    fn map(self, other: Portable, f: impl Fn(f32, f32) -> f32) -> Portable {
        Portable(std::array::from_fn(|i| f(self.0[i], other.0[i])))
    }
}

impl Vector for Portable {
    const LANES: usize = 4;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Portable([value; 4])
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller promises four readable values.
        Portable(unsafe { from.cast::<[f32; 4]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller promises four writable values.
        unsafe { to.cast::<[f32; 4]>().write_unaligned(self.0) }
    }

    #[inline(always)]
    unsafe fn plus(self, other: Self) -> Self {
        self.map(other, |a, b| a + b)
    }

    #[inline(always)]
    unsafe fn minus(self, other: Self) -> Self {
        self.map(other, |a, b| a - b)
    }

    #[inline(always)]
    unsafe fn times(self, other: Self) -> Self {
        self.map(other, |a, b| a * b)
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        Portable(std::array::from_fn(|i| {
            super::mul_add::<{ super::PORTABLE_FMA }>(self.0[i], factor.0[i], addend.0[i])
        }))
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        self.map(other, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    unsafe fn keep_within(self, at: Self, ranges: [[Self; 2]; 2]) -> Self {
        let inside = |i: usize| ranges.iter().any(|[low, high]| low.0[i] <= at.0[i] && at.0[i] < high.0[i]);
        Portable(std::array::from_fn(|i| if inside(i) { self.0[i] } else { f32::NEG_INFINITY }))
    }

    #[inline(always)]
    unsafe fn zero_if_minus_infinity(self) -> Self {
        Portable(self.0.map(|v| if v == f32::NEG_INFINITY { 0.0 } else { v }))
    }

    #[inline(always)]
    unsafe fn exp2(self) -> Self {
        const ROUND: f32 = 12_582_912.0; // 1.5 · 2²³: adding it rounds to the nearest integer
        // SAFETY: plain arithmetic.
        unsafe {
            let x = Portable(self.0.map(|v| if v < EXP2_LOW { EXP2_LOW } else { v }));
            let shifted = x.plus(Self::splat(ROUND));
            let p = exp2_polynomial(x.minus(shifted.minus(Self::splat(ROUND))));
            let power = shifted.0.map(|v| f32::from_bits((v.to_bits() << 23).wrapping_add(0x3F80_0000)));
            let value = p.times(Portable(power));
            self.map(value, |x, y| if x < EXP2_LOW { 0.0 } else { y })
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) mod x86 {
    //! AVX2 and AVX-512 registers.

    use super::{EXP2_LOW, Vector, exp2_polynomial};
    use std::arch::x86_64::*;

    /// Eight lanes, AVX2 and FMA.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx2(__m256);

    /// Sixteen lanes, AVX-512 F.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx512(__m512);

    impl Vector for Avx2 {
        const LANES: usize = 8;

        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            // SAFETY: the trait's contract.
            Avx2(unsafe { _mm256_set1_ps(value) })
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: the trait's contract.
            Avx2(unsafe { _mm256_loadu_ps(from) })
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: the trait's contract.
            unsafe { _mm256_storeu_ps(to, self.0) }
        }

        #[inline(always)]
        unsafe fn plus(self, other: Self) -> Self {
            // SAFETY: the trait's contract.
            Avx2(unsafe { _mm256_add_ps(self.0, other.0) })
        }

        #[inline(always)]
        unsafe fn minus(self, other: Self) -> Self {
            // SAFETY: the trait's contract.
            Avx2(unsafe { _mm256_sub_ps(self.0, other.0) })
        }

        #[inline(always)]
        unsafe fn times(self, other: Self) -> Self {
            // SAFETY: the trait's contract.
            Avx2(unsafe { _mm256_mul_ps(self.0, other.0) })
        }

        #[inline(always)]
        unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
            // SAFETY: the trait's contract.
            Avx2(unsafe { _mm256_fmadd_ps(self.0, factor.0, addend.0) })
        }

        #[inline(always)]
        unsafe fn max(self, other: Self) -> Self {
            // SAFETY: the trait's contract.
            Avx2(unsafe { _mm256_max_ps(self.0, other.0) })
        }

        #[inline(always)]
        unsafe fn keep_within(self, at: Self, ranges: [[Self; 2]; 2]) -> Self {
            // SAFETY: the trait's contract.
            unsafe {
                let [a, b] = ranges.map(|[low, high]| {
                    let from = _mm256_cmp_ps::<_CMP_LE_OQ>(low.0, at.0);
                    _mm256_and_ps(from, _mm256_cmp_ps::<_CMP_LT_OQ>(at.0, high.0))
                });
                let hidden = _mm256_set1_ps(f32::NEG_INFINITY);
                Avx2(_mm256_blendv_ps(hidden, self.0, _mm256_or_ps(a, b)))
            }
        }

        #[inline(always)]
        unsafe fn zero_if_minus_infinity(self) -> Self {
            // SAFETY: the trait's contract.
            unsafe {
                let real = _mm256_cmp_ps::<_CMP_NEQ_UQ>(self.0, _mm256_set1_ps(f32::NEG_INFINITY));
                Avx2(_mm256_and_ps(self.0, real))
            }
        }

        #[inline(always)]
        unsafe fn exp2(self) -> Self {
            // SAFETY: the trait's contract.
            unsafe {
                let low = _mm256_set1_ps(EXP2_LOW);
                let x = _mm256_max_ps(low, self.0);
                let n = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x);
                let p = exp2_polynomial(Avx2(_mm256_sub_ps(x, n)));
                let power = _mm256_slli_epi32::<23>(_mm256_cvtps_epi32(n));
                let value = _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p.0), power));
                let normal = _mm256_cmp_ps::<_CMP_NLT_UQ>(self.0, low);
                Avx2(_mm256_and_ps(value, normal))
            }
        }
    }

    impl Vector for Avx512 {
        const LANES: usize = 16;

        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            // SAFETY: the trait's contract.
            Avx512(unsafe { _mm512_set1_ps(value) })
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: the trait's contract.
            Avx512(unsafe { _mm512_loadu_ps(from) })
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: the trait's contract.
            unsafe { _mm512_storeu_ps(to, self.0) }
        }

        #[inline(always)]
        unsafe fn plus(self, other: Self) -> Self {
            // SAFETY: the trait's contract.
            Avx512(unsafe { _mm512_add_ps(self.0, other.0) })
        }

        #[inline(always)]
        unsafe fn minus(self, other: Self) -> Self {
            // SAFETY: the trait's contract.
            Avx512(unsafe { _mm512_sub_ps(self.0, other.0) })
        }

        #[inline(always)]
        unsafe fn times(self, other: Self) -> Self {
            // SAFETY: the trait's contract.
            Avx512(unsafe { _mm512_mul_ps(self.0, other.0) })
        }

        #[inline(always)]
        unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
            // SAFETY: the trait's contract.
            Avx512(unsafe { _mm512_fmadd_ps(self.0, factor.0, addend.0) })
        }

        #[inline(always)]
        unsafe fn max(self, other: Self) -> Self {
            // SAFETY: the trait's contract.
            Avx512(unsafe { _mm512_max_ps(self.0, other.0) })
        }

        #[inline(always)]
        unsafe fn keep_within(self, at: Self, ranges: [[Self; 2]; 2]) -> Self {
            // SAFETY: the trait's contract.
            unsafe {
                let [[low_a, high_a], [low_b, high_b]] = ranges;
                let a = _mm512_cmp_ps_mask::<_CMP_LE_OQ>(low_a.0, at.0);
                let a = _mm512_mask_cmp_ps_mask::<_CMP_LT_OQ>(a, at.0, high_a.0);
                let b = _mm512_cmp_ps_mask::<_CMP_LE_OQ>(low_b.0, at.0);
                let b = _mm512_mask_cmp_ps_mask::<_CMP_LT_OQ>(b, at.0, high_b.0);
                Avx512(_mm512_mask_mov_ps(_mm512_set1_ps(f32::NEG_INFINITY), a | b, self.0))
            }
        }

        #[inline(always)]
        unsafe fn zero_if_minus_infinity(self) -> Self {
            // SAFETY: the trait's contract.
            unsafe {
                let real = _mm512_cmp_ps_mask::<_CMP_NEQ_UQ>(self.0, _mm512_set1_ps(f32::NEG_INFINITY));
                Avx512(_mm512_maskz_mov_ps(real, self.0))
            }
        }

        #[inline(always)]
        unsafe fn exp2(self) -> Self {
            // SAFETY: the trait's contract.
            unsafe {
                let low = _mm512_set1_ps(EXP2_LOW);
                let x = _mm512_max_ps(low, self.0);
                let n = _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x);
                let p = exp2_polynomial(Avx512(_mm512_sub_ps(x, n)));
                let normal = _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(self.0, low);
                Avx512(_mm512_maskz_scalef_ps(normal, p.0, n))
            }
        }
    }
}
