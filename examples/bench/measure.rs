//! Clocking: what a case is, and what running it gives.

use std::sync::LazyLock;
use std::time::Instant;

use kernels::memory::{Arena, Numbers};
use serde::Serialize;

/// What limits a case, so that its rate can be held against the machine's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    /// Multiplications: GFLOP/s beside two single-thread products.
    Gemm,
    /// Memory, read and written: GB/s beside a copy.
    Copy,
    /// Memory, read only: GB/s beside a sum.
    Read,
}

/// A job whose answer has been checked, and the work that one run of it is.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) flops: f64,
    /// Bytes that have to come from memory or go there, each once.
    pub(crate) bytes: f64,
    /// Tokens that one run takes in or gives out, where a model runs.
    pub(crate) tokens: Option<usize>,
    #[allow(dead_code, reason = "the table alone asks")]
    pub(crate) bound: Bound,
    pub(crate) job: Box<dyn FnMut()>,
}

/// What a machine-readable line holds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figures {
    /// The case, as the table names it.
    pub(crate) name: String,
    /// Median of the runs.
    pub(crate) ms: f64,
    /// GFLOP/s.
    pub(crate) gflops: f64,
    /// GB/s of memory that had to be touched.
    pub(crate) gbytes: f64,
    /// The most memory that the process held since the case was prepared; 0 where the system does not tell.
    pub(crate) peak_bytes: u64,
    /// Where a model runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tokens_per_second: Option<f64>,
    pub(crate) runs: usize,
    pub(crate) threads: usize,
}

impl Figures {
    /// The rate that the machine limits.
    #[allow(dead_code, reason = "the table alone asks")]
    pub(crate) fn rate(&self, bound: Bound) -> f64 {
        if bound == Bound::Gemm { self.gflops } else { self.gbytes }
    }
}

impl Case {
    /// Runs it once to warm up, then for about `seconds`: three times at least, or once for no seconds at all.
    pub(crate) fn measure(mut self, seconds: f64) -> Figures {
        (self.job)();
        forget_peak();
        let (mut times, begin, least) = (vec![], Instant::now(), if seconds > 0.0 { 3 } else { 1 });
        while times.len() < least || begin.elapsed().as_secs_f64() < seconds {
            let start = Instant::now();
            (self.job)();
            times.push(start.elapsed().as_secs_f64());
        }
        let median = median(&mut times);
        Figures {
            name: self.name,
            ms: median * 1e3,
            gflops: self.flops / median / 1e9,
            gbytes: self.bytes / median / 1e9,
            peak_bytes: peak(),
            tokens_per_second: self.tokens.map(|tokens| tokens as f64 / median),
            runs: times.len(),
            threads: rayon::current_num_threads(),
        }
    }
}

pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

/// Lets the kernel count the peak from here on (proc(5), `clear_refs`); where it will not, the peak is the process's.
fn forget_peak() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Where a device keeps its tensors too.
static ARENA: LazyLock<Arena> = LazyLock::new(Arena::new);

/// Zeros.
pub(crate) fn zeros(len: usize) -> Numbers {
    ARENA.zeros(len).unwrap_or_else(|| panic!("no memory for {len} numbers"))
}

/// Numbers in [−1, 1), the same in every run.
pub(crate) fn numbers(seed: u64, len: usize) -> Numbers {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    let mut numbers = zeros(len);
    numbers.fill_with(&mut next);
    numbers
}

/// An error where `got` is not what a formula in f64 gives.
pub(crate) fn agree(what: &str, got: f32, expected: f64, tolerance: f64) -> Result<(), String> {
    let error = (f64::from(got) - expected).abs();
    if error <= tolerance * expected.abs().max(1.0) { Ok(()) } else { Err(format!("{what}: {got}, not {expected}")) }
}
