//! Clocking, and the ceilings the kernels are held against, measured in the same run.

#![allow(dead_code, reason = "each bench uses its part")]

use std::hint::black_box;
use std::time::Instant;

use kernels::linear::{self, Dims, Write};

/// Seconds of the fastest run of a job, of at least five and about a second's worth: what other programs on the machine
/// take away only ever makes a run slower.
pub(crate) fn fastest(mut job: impl FnMut()) -> f64 {
    job();
    let (mut best, mut runs, begin) = (f64::INFINITY, 0, Instant::now());
    while runs < 5 || begin.elapsed().as_secs_f64() < 1.0 {
        let start = Instant::now();
        job();
        best = best.min(start.elapsed().as_secs_f64());
        runs += 1;
    }
    best
}

/// Numbers in [−1, 1), the same in every run.
pub(crate) fn numbers(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// GFLOP/s of a square product of side 1536 on all threads.
pub(crate) fn gemm_ceiling() -> f64 {
    const SIDE: usize = 1536;
    let dims = Dims { rows: SIDE, inputs: SIDE, outputs: SIDE };
    let (x, w, mut y) = (numbers(1, SIDE * SIDE), numbers(2, SIDE * SIDE), vec![0.0; SIDE * SIDE]);
    let seconds = fastest(|| linear::forward(dims, &x, &w, black_box(&mut y), 1.0, Write::Set));
    2.0 * (SIDE as f64).powi(3) / seconds / 1e9
}

/// GB/s of a copy on all threads, bytes read plus bytes written.
pub(crate) fn copy_ceiling() -> f64 {
    use rayon::prelude::*;
    const LEN: usize = 64 << 20;
    let (from, mut to) = (numbers(1, LEN), vec![0.0f32; LEN]);
    let seconds = fastest(|| {
        black_box(&mut to)
            .par_chunks_mut(1 << 16)
            .zip(from.par_chunks(1 << 16))
            .for_each(|(to, from)| to.copy_from_slice(from));
    });
    (LEN * 8) as f64 / seconds / 1e9
}
