//! NEON registers, which every AArch64 processor has.

use super::Vector;
use std::arch::aarch64::*;

/// Four lanes.
#[derive(Clone, Copy)]
pub(crate) struct Neon(float32x4_t);

impl Vector for Neon {
    const LANES: usize = 4;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: the trait's contract.
        Neon(unsafe { vdupq_n_f32(value) })
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the trait's contract.
        Neon(unsafe { vld1q_f32(from) })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the trait's contract.
        unsafe { vst1q_f32(to, self.0) }
    }

    #[inline(always)]
    unsafe fn plus(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        Neon(unsafe { vaddq_f32(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn minus(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        Neon(unsafe { vsubq_f32(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn times(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        Neon(unsafe { vmulq_f32(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: the trait's contract.
        Neon(unsafe { vfmaq_f32(addend.0, self.0, factor.0) })
    }

    /// A comparison and a choice: NEON's own maximum keeps a NaN.
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        Neon(unsafe { vbslq_f32(vcgtq_f32(self.0, other.0), self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn over(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        Neon(unsafe { vdivq_f32(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn keep_within(self, at: Self, ranges: [[Self; 2]; 2]) -> Self {
        // SAFETY: the trait's contract.
        unsafe {
            let [a, b] = ranges.map(|[low, high]| vandq_u32(vcleq_f32(low.0, at.0), vcltq_f32(at.0, high.0)));
            Neon(vbslq_f32(vorrq_u32(a, b), self.0, vdupq_n_f32(f32::NEG_INFINITY)))
        }
    }

    #[inline(always)]
    unsafe fn keep_from(self, x: Self, low: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { Neon(vbslq_f32(vcltq_f32(x.0, low.0), vdupq_n_f32(0.0), self.0)) }
    }

    #[inline(always)]
    unsafe fn round(self) -> Self {
        // SAFETY: the trait's contract.
        Neon(unsafe { vrndnq_f32(self.0) })
    }

    #[inline(always)]
    unsafe fn times_power(self, n: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe {
            let exponent = vshlq_n_s32::<23>(vcvtnq_s32_f32(n.0));
            Neon(vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(self.0), exponent)))
        }
    }

    #[inline(always)]
    unsafe fn lookup(table: &[f32; 16], packed: *const u8) -> Self {
        // SAFETY: the caller promises two readable bytes.
        let [a, b] = unsafe { packed.cast::<[u8; 2]>().read() };
        let values = [a >> 4, a & 15, b >> 4, b & 15].map(|index| table[usize::from(index)]);
        // SAFETY: four values.
        unsafe { Self::load(values.as_ptr()) }
    }

    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> Self {
        // SAFETY: the trait's contract; the caller promises four readable bytes.
        unsafe {
            let bytes = vreinterpret_s8_u32(vdup_n_u32(from.cast::<u32>().read_unaligned()));
            Neon(vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(bytes)))))
        }
    }

    #[inline(always)]
    fn fused(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }

    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        // SAFETY: the trait's contract.
        unsafe { vaddvq_f32(self.0) }
    }
}
