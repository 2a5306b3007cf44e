//! Which instruction set runs, chosen once at run time, and the macro that compiles one body for each of them.

pub(crate) mod leaves;
pub(crate) mod math;
pub(crate) mod scratch;
pub(crate) mod vector;

use std::sync::OnceLock;

/// An instruction set with its own compiled kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// What the target guarantees, vectorised by the compiler.
    Portable,
    /// NEON, 4 lanes: every AArch64 processor.
    Neon,
    /// AVX2 with fused multiply-add, 8 lanes.
    Avx2,
    /// AVX-512 (F, BW, DQ, VL), 16 lanes.
    Avx512,
}

impl Isa {
    /// The best set this processor runs; found once, the same for the life of the program.
    pub fn best() -> Isa {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| *Isa::available().last().unwrap_or(&Isa::Portable))
    }

    /// Every set this processor runs, slowest first.
    pub fn available() -> Vec<Isa> {
        [Isa::Portable, Isa::Neon, Isa::Avx2, Isa::Avx512].into_iter().filter(|isa| isa.is_available()).collect()
    }

    /// Whether this processor can run the set.
    pub fn is_available(self) -> bool {
        match self {
            Isa::Portable => true,
            Isa::Neon => cfg!(target_arch = "aarch64"),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                Isa::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
            #[cfg(not(target_arch = "x86_64"))]
            _ => false,
        }
    }

    /// A short name for logs and checkpoints: `portable`, `neon`, `avx2` or `avx512`.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Neon => "neon",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
        }
    }
}

/// Writes `fn name(isa, args…)` that runs `body::<V>(args…)`, an `#[inline(always)]` function generic over the
/// [`vector::Vector`], compiled once for each instruction set.
macro_rules! multiversion {
    ($vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? => $body:ident) => {
        #[allow(clippy::too_many_arguments, reason = "mirrors its body")]
        $vis fn $name(isa: $crate::simd::Isa, $($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            #[allow(clippy::too_many_arguments, reason = "mirrors its body")]
            fn avx512($($arg: $ty),*) $(-> $ret)? { $body::<$crate::simd::vector::x86::Avx512>($($arg),*) }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            #[allow(clippy::too_many_arguments, reason = "mirrors its body")]
            fn avx2($($arg: $ty),*) $(-> $ret)? { $body::<$crate::simd::vector::x86::Avx2>($($arg),*) }
            debug_assert!(isa.is_available());
            match isa {
                // SAFETY: callers pass `Isa::best()` or a member of `Isa::available()`, so the features exist.
                #[cfg(target_arch = "x86_64")]
                $crate::simd::Isa::Avx512 => unsafe { avx512($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::simd::Isa::Avx2 => unsafe { avx2($($arg),*) },
                #[cfg(target_arch = "aarch64")]
                $crate::simd::Isa::Neon => $body::<$crate::simd::vector::neon::Neon>($($arg),*),
                _ => $body::<$crate::simd::vector::Portable>($($arg),*),
            }
        }
    };
}
pub(crate) use multiversion;

/// Runs a block for every register of a slice of `len` values, with the place `at` of the register; the last one may be
/// part of a register. Needs `unsafe` around it: the places are good only for slices of at least `len` values.
macro_rules! each_register {
    ($vector:ty, $len:expr, |$at:ident| $work:expr) => {{
        let (len, lanes) = ($len, <$vector as $crate::simd::vector::Vector>::LANES);
        let whole = len - len % lanes;
        for from in (0..whole).step_by(lanes) {
            let $at = $crate::simd::Whole { from };
            $work;
        }
        if whole < len {
            let $at = $crate::simd::Part { from: whole, len: len - whole };
            $work;
        }
    }};
}
pub(crate) use each_register;

/// The place of a whole register in slices.
#[derive(Clone, Copy)]
pub(crate) struct Whole {
    pub(crate) from: usize,
}

/// The place of the rest of slices, shorter than a register.
#[derive(Clone, Copy)]
pub(crate) struct Part {
    pub(crate) from: usize,
    pub(crate) len: usize,
}

impl Whole {
    /// # Safety
    /// The processor has the instruction set, the slice the register.
    #[inline(always)]
    pub(crate) unsafe fn get<V: vector::Vector>(self, values: &[f32]) -> V {
        debug_assert!(self.from + V::LANES <= values.len());
        // SAFETY: the caller's promise.
        unsafe { V::load(values.as_ptr().add(self.from)) }
    }

    /// # Safety
    /// The processor has the instruction set, the slice the register.
    #[inline(always)]
    pub(crate) unsafe fn put<V: vector::Vector>(self, values: &mut [f32], register: V) {
        debug_assert!(self.from + V::LANES <= values.len());
        // SAFETY: the caller's promise.
        unsafe { register.store(values.as_mut_ptr().add(self.from)) }
    }
}

impl Part {
    /// # Safety
    /// The processor has the instruction set, the slice the values.
    #[inline(always)]
    pub(crate) unsafe fn get<V: vector::Vector>(self, values: &[f32]) -> V {
        debug_assert!(self.from + self.len <= values.len());
        // SAFETY: the caller's promise.
        unsafe { V::load_part(values.as_ptr().add(self.from), self.len) }
    }

    /// # Safety
    /// The processor has the instruction set, the slice the values.
    #[inline(always)]
    pub(crate) unsafe fn put<V: vector::Vector>(self, values: &mut [f32], register: V) {
        debug_assert!(self.from + self.len <= values.len());
        // SAFETY: the caller's promise.
        unsafe { register.store_part(values.as_mut_ptr().add(self.from), self.len) }
    }
}

/// A mutable slice that parallel tasks share, each writing places no other one touches.
#[derive(Clone, Copy)]
pub(crate) struct SendPtr {
    data: *mut f32,
    len: usize,
}

// SAFETY: only `slice` gives access, and its callers promise that no two live slices overlap.
unsafe impl Send for SendPtr {}
// SAFETY: as above.
unsafe impl Sync for SendPtr {}

impl SendPtr {
    pub(crate) fn new(values: &mut [f32]) -> SendPtr {
        SendPtr { data: values.as_mut_ptr(), len: values.len() }
    }

    /// `len` values from `from` on; panics when they are not inside the slice.
    ///
    /// # Safety
    /// The slice given to [`SendPtr::new`] is still borrowed, and no other live slice overlaps this one.
    #[allow(clippy::mut_from_ref, reason = "disjointness is the caller's promise")]
    #[inline(always)]
    pub(crate) unsafe fn slice<'a>(&self, from: usize, len: usize) -> &'a mut [f32] {
        assert!(from + len <= self.len, "kernels: a task wrote outside its buffer");
        // SAFETY: inside the buffer by the assertion; exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(from), len) }
    }
}
