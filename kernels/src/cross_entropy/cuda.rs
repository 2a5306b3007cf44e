//! Cross-entropy on a GPU: what lies between the products `logits = x · wᵀ` and `dx = dlogits · w`, `dw = dlogitsᵀ · x`.

use crate::cuda::driver::{Address, Driver, Result};
use crate::cuda::runtime::{Queue, Region};
use crate::cuda::source::{Compiler, Source};
use crate::cuda::{Budget, Kernel, params};

/// The kernel for one vocabulary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrossEntropy {
    /// V, a multiple of 8.
    pub vocab: usize,
}

params! {
    struct Rows {
        logits: Address,
        targets: Address,
        nll: Address,
        predictions: Address,
        tokens: u64,
        grad_scale: f32,
        gradients: u32,
    }
}

/// Where the results of a chunk go.
#[derive(Clone, Copy, Debug)]
pub struct Scores<'a> {
    /// f32 `[rows]`: −ln p(target), 0 where ignored.
    pub nll: Region<'a>,
    /// u32 `[rows]`: the most likely token, the first of equals.
    pub predictions: Region<'a>,
}

impl CrossEntropy {
    /// Scores a chunk of logits, f32 `[rows, V]`, against `targets` i32 `[rows]`, each [`super::IGNORED`] or below V. The first
    /// `tokens` columns may be predicted; the others fill V up, with what is below all that these may hold. With a `grad_scale`
    /// the logits become the gradient of `grad_scale · Σ nll`: bf16 rows of V numbers, `2 V` from one to the next.
    pub fn rows<D: Driver, C: Compiler>(
        &self,
        queue: Queue<'_, D, C>,
        (rows, tokens): (usize, usize),
        logits: Region<'_>,
        targets: Region<'_>,
        scores: Scores<'_>,
        grad_scale: Option<f32>,
    ) -> Result<()> {
        let params = Rows {
            logits: logits.need("logits", 4 * rows * self.vocab),
            targets: targets.need("targets", 4 * rows),
            nll: scores.nll.need("nll", 4 * rows),
            predictions: scores.predictions.need("predictions", 4 * rows),
            tokens: tokens as u64,
            grad_scale: grad_scale.unwrap_or(0.0),
            gradients: grad_scale.is_some().into(),
        };
        // SAFETY: a block for each row; the caller's targets lie in the vocabulary.
        unsafe { queue.launch(&self.kernel(), [rows as u32, 1, 1], &params) }
    }

    /// The kernel.
    pub fn kernel(&self) -> Kernel {
        let vocab = self.vocab;
        assert!(vocab > 0 && vocab.is_multiple_of(8) && vocab < 1 << 31, "kernels: a vocabulary of {vocab} on a GPU");
        // Some tiles a thread, so that the reduction is a small part.
        let threads = (vocab / 64).next_multiple_of(32).clamp(32, 512);
        let constants = vec![("VOCAB", vocab as i64), ("THREADS", threads as i64)];
        let source = Source { file: "cross_entropy.cu", texts: vec![include_str!("cross_entropy.cu")], constants };
        let budget = Budget { blocks: (1024 / threads).min(16) as u32 };
        Kernel { source, entry: "cross_entropy", threads: threads as u32, shared: threads as u32 / 32 * 12, budget }
    }
}
