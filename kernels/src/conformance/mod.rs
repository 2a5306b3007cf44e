//! One suite for every backend: each op against its `f64` reference, at sizes that are multiples of nothing.
//!
//! Tolerance: the root-mean-square error against the `f64` reference may be twice that of the same naive formula run
//! in `f32` (three times for gradients), plus one rounding of the result itself.

mod attention;
mod cuda;
mod dense;
mod fixtures;
mod heads;
mod quantized;
mod real;
mod rows;
mod visibility;

pub(crate) use real::{Real, max};

use crate::simd::Isa;
use rayon::ThreadPoolBuilder;

/// Stamps the suite on one backend: `conformance!(module_name, backend)`.
macro_rules! conformance {
    ($name:ident, $isa:expr) => {
        mod $name {
            $crate::conformance::cases! { $isa;
                attention: shapes, patterns, documents, offsets, long, not_a_number, threads;
                heads: mixed, decoding, pieces_merge, unseen, threads;
                dense: linear, linear_threads, cross_entropy, cross_entropy_threads;
                rows: rms_norm, rope, swiglu, adamw, adamw_8bit, exponential, threads;
                fixtures: adamw_steps, adamw_8bit_steps, nf4_codes, nf4_any_length;
                quantized: unpacked, linear, threads;
            }
        }
    };
}

/// One `#[test]` per case, which passes quietly where the processor lacks the instruction set.
macro_rules! cases {
    ($isa:expr; $($group:ident: $($case:ident),* ;)*) => { $(
        mod $group {
            $(
                #[test]
                fn $case() {
                    if $isa.is_available() {
                        $crate::conformance::$group::$case($isa);
                    }
                }
            )*
        }
    )* };
}
use cases;

conformance!(portable, crate::simd::Isa::Portable);
conformance!(neon, crate::simd::Isa::Neon);
conformance!(avx2, crate::simd::Isa::Avx2);
conformance!(avx512, crate::simd::Isa::Avx512);

/// A small generator of test values (splitmix64), the same on every machine.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// Values roughly normal, from sums of uniform ones.
    pub(crate) fn normal(&mut self, len: usize) -> Vec<f32> {
        let mut unit = || (self.next() >> 40) as f32 / (1u64 << 24) as f32 - 0.5;
        (0..len).map(|_| (unit() + unit() + unit() + unit()) * 1.7).collect()
    }
}

/// The same values in another precision.
pub(crate) fn cast<R: Real>(values: &[f32]) -> Vec<R> {
    values.iter().map(|&v| R::of(f64::from(v))).collect()
}

/// Holds `fast` against the reference: `factor` times the error of the plain `f32` run, plus half an ulp.
#[track_caller]
pub(crate) fn close(what: &str, fast: &[f32], plain: &[f32], exact: &[f64], factor: f64) {
    close_sum(what, fast, plain, exact, factor, 0.0);
}

/// As [`close`] for results that are differences of larger terms: two ulp of a term of size `terms` are allowed too.
#[track_caller]
pub(crate) fn close_sum(what: &str, fast: &[f32], plain: &[f32], exact: &[f64], factor: f64, terms: f64) {
    assert_eq!(fast.len(), exact.len(), "{what}: length");
    for (i, (&f, &e)) in fast.iter().zip(exact).enumerate() {
        let same_kind = f.is_finite() == e.is_finite() && (f.is_finite() || f64::from(f) == e);
        assert!(same_kind, "{what}[{i}]: got {f}, expected {e}");
    }
    let (got, allowed) = (
        rms_error(fast, exact),
        factor * rms_error(plain, exact) + rms(exact) * 2f64.powi(-24) + terms * 2f64.powi(-22),
    );
    assert!(got <= allowed, "{what}: error {got:.3e}, allowed {allowed:.3e}");
}

fn rms_error(values: &[f32], exact: &[f64]) -> f64 {
    rms(&values.iter().zip(exact).map(|(&v, e)| f64::from(v) - e).collect::<Vec<_>>())
}

/// Root mean square of the finite values.
pub(crate) fn rms(values: &[f64]) -> f64 {
    let finite = || values.iter().filter(|v| v.is_finite());
    (finite().map(|v| v * v).sum::<f64>() / finite().count().max(1) as f64).sqrt()
}

/// Runs `job` on 1, 2 and 3 threads and holds the results to the same bits.
#[track_caller]
pub(crate) fn same_bits_on_any_threads(what: &str, job: impl Fn() -> Vec<f32> + Sync) {
    let run = |threads| -> Vec<u32> {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool");
        pool.install(|| job().iter().map(|v| v.to_bits()).collect())
    };
    let one = run(1);
    for threads in [2, 3] {
        assert!(one == run(threads), "{what}: {threads} threads give other bits than one");
    }
}

/// The instruction set's name, for messages.
pub(crate) fn label(isa: Isa, what: &str) -> String {
    format!("{} {what}", isa.name())
}
