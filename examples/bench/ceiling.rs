//! What the machine can do, measured beside everything else.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::Instant;

use kernels::linear::{self, Dims, Write};
use rayon::prelude::*;
use serde::Serialize;

use crate::measure::{Bound, median, numbers, zeros};

/// The machine's limits.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Ceilings {
    /// GFLOP/s of single-thread f32 products, one on each core at the same time.
    pub(crate) gemm_gflops: f64,
    /// GB/s of a copy on all threads, bytes read plus bytes written.
    pub(crate) copy_gbytes: f64,
    /// GB/s of a sum on all threads.
    pub(crate) read_gbytes: f64,
}

const ROUNDS: usize = 7;

/// What a case is held against, measured now.
pub(crate) fn of(bound: Bound) -> f64 {
    match bound {
        Bound::Gemm => gemm(rayon::current_num_threads()),
        Bound::Copy => copy(),
        Bound::Read => read(),
    }
}

impl Ceilings {
    pub(crate) fn measure() -> Ceilings {
        Ceilings { gemm_gflops: of(Bound::Gemm), copy_gbytes: of(Bound::Copy), read_gbytes: of(Bound::Read) }
    }
}

/// Each thread stays on a core of its own and runs a product that nobody else has a part in; the slowest one counts.
fn gemm(threads: usize) -> f64 {
    const SIDE: usize = 1536;
    let barrier = Barrier::new(threads);
    let work = |core: usize| {
        pin(core);
        let alone = rayon::ThreadPoolBuilder::new().num_threads(1).start_handler(move |_| pin(core)).build();
        let (x, w, mut y) = (numbers(1, SIDE * SIDE), numbers(2, SIDE * SIDE), zeros(SIDE * SIDE));
        let dims = Dims { rows: SIDE, inputs: SIDE, outputs: SIDE };
        let mut product = || linear::forward(dims, &x, &w, black_box(&mut y), 1.0, Write::Set);
        let mut run = || match &alone {
            Ok(pool) => pool.install(&mut product),
            Err(_) => product(),
        };
        run();
        let round = |_| {
            barrier.wait();
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64()
        };
        (0..ROUNDS).map(round).collect::<Vec<f64>>()
    };
    let times: Vec<Vec<f64>> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|core| scope.spawn(move || work(core))).collect();
        handles.into_iter().filter_map(|handle| handle.join().ok()).collect()
    });
    let slowest = |round: usize| times.iter().map(|of| of[round]).fold(0.0, f64::max);
    let seconds = median(&mut (0..ROUNDS).map(slowest).collect::<Vec<f64>>());
    threads as f64 * 2.0 * (SIDE as f64).powi(3) / seconds / 1e9
}

/// Where the system allows it.
fn pin(core: usize) {
    #[cfg(target_os = "linux")]
    {
        let mut cores = rustix::thread::CpuSet::new();
        cores.set(core);
        let _ = rustix::thread::sched_setaffinity(None, &cores);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = core;
}

/// Far beyond any cache.
const LEN: usize = 64 << 20;
/// Values that a thread takes at once.
const CHUNK: usize = 1 << 16;

fn copy() -> f64 {
    let (from, mut to) = (numbers(1, LEN), zeros(LEN));
    rate(LEN * 8, || {
        let pairs = black_box(&mut to).par_chunks_mut(CHUNK).zip(from.par_chunks(CHUNK));
        pairs.for_each(|(to, from)| to.copy_from_slice(from));
    })
}

fn read() -> f64 {
    let from = numbers(1, LEN);
    rate(LEN * 4, || {
        let of_chunk = |chunk: &[f32]| chunk.iter().fold(0, |all, value| all ^ value.to_bits());
        black_box(black_box(&from).par_chunks(CHUNK).map(of_chunk).reduce(|| 0, |a, b| a ^ b));
    })
}

fn rate(bytes: usize, mut job: impl FnMut()) -> f64 {
    job();
    let time = |_| {
        let start = Instant::now();
        job();
        start.elapsed().as_secs_f64()
    };
    bytes as f64 / median(&mut (0..ROUNDS).map(time).collect::<Vec<f64>>()) / 1e9
}
