//! AVX2 and AVX-512 registers.

use super::Vector;
use std::arch::x86_64::*;

/// Eight lanes, AVX2 and FMA.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(__m256);

/// An 8 × 8 transposition: pairs, fours, then halves change places.
///
/// # Safety
/// The processor has AVX2; both squares are valid.
#[inline(always)]
unsafe fn transpose_8x8(from: *const f32, stride: usize, to: *mut f32, to_stride: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        let rows: [__m256; 8] = std::array::from_fn(|i| _mm256_loadu_ps(from.add(i * stride)));
        let pair = |i: usize| (rows[i], rows[i + 1]);
        let low: [__m256; 4] = std::array::from_fn(|i| _mm256_unpacklo_ps(pair(2 * i).0, pair(2 * i).1));
        let high: [__m256; 4] = std::array::from_fn(|i| _mm256_unpackhi_ps(pair(2 * i).0, pair(2 * i).1));
        for half in 0..2 {
            let pairs = if half == 0 { low } else { high };
            let (top, bottom) = ((pairs[0], pairs[1]), (pairs[2], pairs[3]));
            let a = _mm256_shuffle_ps::<0x44>(top.0, top.1);
            let b = _mm256_shuffle_ps::<0xEE>(top.0, top.1);
            let c = _mm256_shuffle_ps::<0x44>(bottom.0, bottom.1);
            let d = _mm256_shuffle_ps::<0xEE>(bottom.0, bottom.1);
            let column = |i: usize| to.add((2 * half + i) * to_stride);
            _mm256_storeu_ps(column(0), _mm256_permute2f128_ps::<0x20>(a, c));
            _mm256_storeu_ps(column(1), _mm256_permute2f128_ps::<0x20>(b, d));
            _mm256_storeu_ps(column(4), _mm256_permute2f128_ps::<0x31>(a, c));
            _mm256_storeu_ps(column(5), _mm256_permute2f128_ps::<0x31>(b, d));
        }
    }
}

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
    unsafe fn lookup(table: &[f32; 16], packed: *const u8) -> Self {
        // SAFETY: the trait's contract; the caller promises four readable bytes.
        unsafe {
            let bytes = _mm_cvtsi32_si128(packed.cast::<i32>().read_unaligned());
            // Each byte in 64 bits: its high half goes to the lower lane, its low half to the upper one.
            let wide = _mm256_cvtepu8_epi64(bytes);
            let both = _mm256_or_si256(_mm256_srli_epi64::<4>(wide), _mm256_slli_epi64::<32>(wide));
            let index = _mm256_and_si256(both, _mm256_set1_epi32(15));
            let low = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table.as_ptr()), index);
            let high = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table.as_ptr().add(8)), index);
            let upper = _mm256_castsi256_ps(_mm256_slli_epi32::<28>(index));
            Avx2(_mm256_blendv_ps(low, high, upper))
        }
    }

    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> Self {
        // SAFETY: the trait's contract; the caller promises eight readable bytes.
        Avx2(unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(from.cast()))) })
    }

    #[inline(always)]
    unsafe fn transpose_square(from: *const f32, stride: usize, to: *mut f32, to_stride: usize) {
        // SAFETY: the trait's contract; the caller promises both squares.
        unsafe { transpose_8x8(from, stride, to, to_stride) }
    }

    #[inline(always)]
    unsafe fn over(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        Avx2(unsafe { _mm256_div_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn fused(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }

    #[inline(always)]
    unsafe fn keep_from(self, x: Self, low: Self) -> Self {
        // SAFETY: the trait's contract.
        Avx2(unsafe { _mm256_and_ps(self.0, _mm256_cmp_ps::<_CMP_NLT_UQ>(x.0, low.0)) })
    }

    #[inline(always)]
    unsafe fn round(self) -> Self {
        // SAFETY: the trait's contract.
        Avx2(unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0) })
    }

    #[inline(always)]
    unsafe fn times_power(self, n: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe {
            let exponent = _mm256_slli_epi32::<23>(_mm256_cvtps_epi32(n.0));
            Avx2(_mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(self.0), exponent)))
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
    unsafe fn lookup(table: &[f32; 16], packed: *const u8) -> Self {
        // SAFETY: the trait's contract; the caller promises eight readable bytes.
        unsafe {
            // Each byte in 64 bits: its high half goes to the lower lane, its low half to the upper one.
            let wide = _mm512_cvtepu8_epi64(_mm_loadl_epi64(packed.cast()));
            let both = _mm512_or_si512(_mm512_srli_epi64::<4>(wide), _mm512_slli_epi64::<32>(wide));
            let index = _mm512_and_si512(both, _mm512_set1_epi32(15));
            Avx512(_mm512_permutexvar_ps(index, _mm512_loadu_ps(table.as_ptr())))
        }
    }

    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> Self {
        // SAFETY: the trait's contract; the caller promises 16 readable bytes.
        Avx512(unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.cast()))) })
    }

    #[inline(always)]
    unsafe fn transpose_square(from: *const f32, stride: usize, to: *mut f32, to_stride: usize) {
        // SAFETY: AVX-512 includes AVX2; the caller promises both squares.
        unsafe { transpose_8x8(from, stride, to, to_stride) }
    }

    #[inline(always)]
    unsafe fn over(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        Avx512(unsafe { _mm512_div_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn fused(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }

    #[inline(always)]
    unsafe fn keep_from(self, x: Self, low: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe {
            let kept = _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(x.0, low.0);
            Avx512(_mm512_maskz_mov_ps(kept, self.0))
        }
    }

    #[inline(always)]
    unsafe fn round(self) -> Self {
        // SAFETY: the trait's contract.
        Avx512(unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0) })
    }

    #[inline(always)]
    unsafe fn times_power(self, n: Self) -> Self {
        // SAFETY: the trait's contract.
        Avx512(unsafe { _mm512_scalef_ps(self.0, n.0) })
    }

    #[inline(always)]
    unsafe fn bucket(self, borders: &[f32; 16]) -> Self {
        // SAFETY: the trait's contract.
        unsafe {
            let table = _mm512_loadu_ps(borders.as_ptr());
            // Halving: the border in the middle of those that are left decides which half stays.
            let mut index = _mm512_setzero_si512();
            for half in [8, 4, 2, 1] {
                let middle = _mm512_add_epi32(index, _mm512_set1_epi32(half - 1));
                let above = _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(self.0, _mm512_permutexvar_ps(middle, table));
                index = _mm512_mask_add_epi32(index, above, index, _mm512_set1_epi32(half));
            }
            Avx512(_mm512_cvtepi32_ps(index))
        }
    }

    #[inline(always)]
    unsafe fn load_part(from: *const f32, len: usize) -> Self {
        // SAFETY: the mask keeps the other lanes from being read.
        Avx512(unsafe { _mm512_maskz_loadu_ps((1u16 << len) - 1, from) })
    }

    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, len: usize) {
        // SAFETY: the mask keeps the other lanes from being written.
        unsafe { _mm512_mask_storeu_ps(to, (1u16 << len) - 1, self.0) }
    }

    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        // SAFETY: the trait's contract.
        unsafe { _mm512_reduce_add_ps(self.0) }
    }

    #[inline(always)]
    unsafe fn largest(self) -> f32 {
        // SAFETY: the trait's contract.
        unsafe { _mm512_reduce_max_ps(self.0) }
    }
}
