//! The output projection fused with cross-entropy, in chunks of rows, so that the `T × V` logits never exist at once.

pub(crate) mod cpu;
pub mod cuda;
#[cfg(test)]
pub(crate) mod reference;

use crate::{expect_len, simd::Isa};

/// A target with this value is left out of loss and gradients.
pub const IGNORED: i32 = -100;

/// What is computed: `softmax(x · wᵀ)` against `targets`.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// Hidden size `C`.
    pub hidden: usize,
    /// Vocabulary `V`.
    pub vocab: usize,
    /// Final hidden states `[T, C]`.
    pub x: &'a [f32],
    /// Output embedding `[V, C]`.
    pub w: &'a [f32],
    /// One target per row, [`IGNORED`] or below `V`.
    pub targets: &'a [i32],
    /// Rows whose logits exist at the same time; [`chunk_rows`] proposes a number.
    pub chunk: usize,
    /// Factor on every gradient: the loss whose gradient is formed is `grad_scale · Σ nll`.
    pub grad_scale: f32,
}

/// Where the results go; what is `None` is not computed.
#[derive(Debug)]
pub struct Output<'a> {
    /// Negative log-likelihood of each row's target `[T]`, 0 where ignored; overwritten.
    pub nll: &'a mut [f32],
    /// The most likely token of each row `[T]` (the first of equals); overwritten, ignored rows too.
    pub predictions: Option<&'a mut [u32]>,
    /// Gradient of `x` `[T, C]`; overwritten.
    pub dx: Option<&'a mut [f32]>,
    /// Gradient of `w` `[V, C]`; added to.
    pub dw: Option<&'a mut [f32]>,
}

/// Rows per chunk that keep the logits near 64 MiB, a multiple of 64: from 256 rows on the products run at full speed.
pub fn chunk_rows(vocab: usize) -> usize {
    const VALUES: usize = 16 << 20;
    (VALUES / vocab.max(1)).clamp(64, 4096) / 64 * 64
}

/// Numbers of memory that a job works in.
pub fn logits_len(vocab: usize, tokens: usize, chunk: usize) -> usize {
    chunk.min(tokens) * vocab
}

/// Runs the job; `logits` holds [`logits_len`] numbers, whatever they are.
///
/// Panics when a target is neither [`IGNORED`] nor in the vocabulary.
pub fn run(job: &Job, output: Output, logits: &mut [f32]) {
    let tokens = job.targets.len();
    expect_len("x", job.x.len(), tokens * job.hidden);
    expect_len("w", job.w.len(), job.vocab * job.hidden);
    expect_len("nll", output.nll.len(), tokens);
    assert!(job.chunk > 0, "kernels: a chunk of cross-entropy rows cannot be empty");
    expect_len("logits", logits.len(), logits_len(job.vocab, tokens, job.chunk));
    let valid = |t: i32| t == IGNORED || (t >= 0 && (t as usize) < job.vocab);
    if let Some(bad) = job.targets.iter().find(|&&t| !valid(t)) {
        panic!("kernels: target {bad} is not in a vocabulary of {}", job.vocab);
    }
    if let Some(predictions) = &output.predictions {
        expect_len("predictions", predictions.len(), tokens);
    }
    if let Some(dx) = &output.dx {
        expect_len("dx", dx.len(), job.x.len());
    }
    if let Some(dw) = &output.dw {
        expect_len("dw", dw.len(), job.w.len());
    }
    cpu::run(Isa::best(), job, output, logits);
}
