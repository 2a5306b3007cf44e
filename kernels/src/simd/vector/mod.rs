//! One vector register of `f32`, the same operations on every instruction set.

#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
#[cfg(target_arch = "x86_64")]
pub(crate) mod x86;

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
    /// Lane-wise quotient.
    unsafe fn over(self, other: Self) -> Self;
    /// `self` where `at` lies in either half-open range `[low, high)`, else −∞.
    unsafe fn keep_within(self, at: Self, ranges: [[Self; 2]; 2]) -> Self;
    /// `self` where `x` is not below `low`, NaN included, else 0.
    unsafe fn keep_from(self, x: Self, low: Self) -> Self;
    /// The nearest whole number, for values below 2²².
    unsafe fn round(self) -> Self;
    /// `self · 2^n` for a whole `n` in `[−126, 127]` and a normal result.
    unsafe fn times_power(self, n: Self) -> Self;

    /// The table's values at `LANES` 4-bit indices, high half of each byte first; reads `LANES / 2` bytes.
    unsafe fn lookup(table: &[f32; 16], packed: *const u8) -> Self;

    /// Reads `LANES` whole numbers.
    unsafe fn load_i8(from: *const i8) -> Self;

    /// How many of 15 ascending borders are not above `self`; the 16th is never looked at. NaN counts as above all.
    #[inline(always)]
    unsafe fn bucket(self, borders: &[f32; 16]) -> Self {
        // SAFETY: the trait's contract.
        unsafe {
            let mut index = Self::splat(0.0);
            for &border in &borders[..15] {
                index = index.plus(Self::splat(1.0).keep_from(self, Self::splat(border)));
            }
            index
        }
    }

    /// Writes the transpose of an 8 × 8 square, rows `stride` apart, to one with rows `to_stride` apart.
    #[inline(always)]
    unsafe fn transpose_square(from: *const f32, stride: usize, to: *mut f32, to_stride: usize) {
        for (row, col) in (0..64).map(|i| (i / 8, i % 8)) {
            // SAFETY: the caller promises both squares.
            unsafe { *to.add(col * to_stride + row) = *from.add(row * stride + col) }
        }
    }

    /// `a · b + c` of single values, fused where the instruction set can: elsewhere `f32::mul_add` is a library call.
    fn fused(a: f32, b: f32, c: f32) -> f32;

    /// Reads the first `len` values, zeros beyond; only those need to be readable.
    #[inline(always)]
    unsafe fn load_part(from: *const f32, len: usize) -> Self {
        let mut values = [0.0; 16];
        // SAFETY: the caller promises `len < LANES ≤ 16` readable values.
        unsafe {
            std::ptr::copy_nonoverlapping(from, values.as_mut_ptr(), len);
            Self::load(values.as_ptr())
        }
    }

    /// Writes the first `len` lanes; only those need to be writable.
    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, len: usize) {
        let mut values = [0.0; 16];
        // SAFETY: the caller promises `len < LANES ≤ 16` writable values.
        unsafe {
            self.store(values.as_mut_ptr());
            std::ptr::copy_nonoverlapping(values.as_ptr(), to, len);
        }
    }

    /// Sum over the lanes.
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        let mut values = [0.0; 16];
        // SAFETY: the array holds the widest register.
        unsafe { self.store(values.as_mut_ptr()) };
        values[..Self::LANES].iter().sum()
    }

    /// Largest lane; a NaN may go unseen.
    #[inline(always)]
    unsafe fn largest(self) -> f32 {
        let mut values = [f32::NEG_INFINITY; 16];
        // SAFETY: the array holds the widest register.
        unsafe { self.store(values.as_mut_ptr()) };
        values.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }
}

/// Whether the target guarantees fused multiply-add.
const PORTABLE_FMA: bool = cfg!(any(target_arch = "aarch64", target_feature = "fma"));

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
        Portable(std::array::from_fn(|i| Self::fused(self.0[i], factor.0[i], addend.0[i])))
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
    unsafe fn over(self, other: Self) -> Self {
        self.map(other, |a, b| a / b)
    }

    #[inline(always)]
    unsafe fn keep_from(self, x: Self, low: Self) -> Self {
        Portable(std::array::from_fn(|i| if x.0[i] < low.0[i] { 0.0 } else { self.0[i] }))
    }

    #[inline(always)]
    unsafe fn round(self) -> Self {
        // 1.5 · 2²³: adding it leaves no bits for a fraction.
        const SHIFT: f32 = 12_582_912.0;
        Portable(self.0.map(|v| (v + SHIFT) - SHIFT))
    }

    #[inline(always)]
    unsafe fn times_power(self, n: Self) -> Self {
        const SHIFT: f32 = 12_582_912.0;
        // The low bits of n + SHIFT are n; moved into the exponent they add it.
        self.map(n, |v, n| f32::from_bits(v.to_bits().wrapping_add((n + SHIFT).to_bits() << 23)))
    }

    #[inline(always)]
    unsafe fn lookup(table: &[f32; 16], packed: *const u8) -> Self {
        // SAFETY: the caller promises two readable bytes.
        let [a, b] = unsafe { packed.cast::<[u8; 2]>().read() };
        Portable([a >> 4, a & 15, b >> 4, b & 15].map(|index| table[usize::from(index)]))
    }

    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> Self {
        // SAFETY: the caller promises four readable bytes.
        Portable(unsafe { from.cast::<[i8; 4]>().read() }.map(f32::from))
    }

    #[inline(always)]
    fn fused(a: f32, b: f32, c: f32) -> f32 {
        if PORTABLE_FMA { a.mul_add(b, c) } else { a * b + c }
    }
}
