//! Softmax attention by blocks with grouped key/value heads, causal, with windows, sinks, strides, groups and
//! documents; every query head may have its own pattern.
//!
//! Nothing of size `queries × keys` is ever stored: the softmax runs online over blocks of keys (Dao 2023,
//! FlashAttention-2, algorithms 1 and 2), and a block of keys that no query of a block can see is never visited.

pub(crate) mod blocks;
pub(crate) mod cpu;
pub mod cuda;
mod mask;
mod merge;
#[cfg(test)]
pub(crate) mod reference;
mod seen;

pub use mask::{Mask, Pattern, Patterns};

pub use merge::merge;

use crate::{expect_len, simd::Isa};

/// Sizes of one attention call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Query rows.
    pub queries: usize,
    /// Key and value rows.
    pub keys: usize,
    /// Query heads `H`.
    pub heads: usize,
    /// Key and value heads `G`; `H` is a multiple of it, query head `h` reads head `h / (H / G)`.
    pub kv_heads: usize,
    /// Head dimension `D`.
    pub head_dim: usize,
}

impl Shape {
    fn check(&self, mask: &Mask) {
        let group = self.heads.checked_div(self.kv_heads);
        assert!(
            group.is_some_and(|g| g * self.kv_heads == self.heads),
            "kernels: {} query heads cannot share {} key/value heads",
            self.heads,
            self.kv_heads
        );
        mask.patterns.check(self.heads);
        expect_len("starts", mask.starts.len(), self.queries);
    }

    fn query_len(&self) -> usize {
        self.queries * self.heads * self.head_dim
    }

    fn key_len(&self) -> usize {
        self.keys * self.kv_heads * self.head_dim
    }
}

/// `out = softmax(scale · q · kᵀ) · v` and the log-sum-exp of each query's scaled scores (natural logarithm).
///
/// `q`, `out` `[queries, H, D]`, `k`, `v` `[keys, G, D]`, `lse` `[queries, H]`. A query that sees nothing gets
/// `out = 0` and `lse = −∞`. Two calls over disjoint keys can be merged through their `lse`.
#[allow(clippy::too_many_arguments, reason = "tensors of one formula, in its order")]
pub fn forward(
    shape: &Shape,
    mask: &Mask,
    scale: f32,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    out: &mut [f32],
    lse: &mut [f32],
) {
    shape.check(mask);
    expect_len("q", q.len(), shape.query_len());
    expect_len("k", k.len(), shape.key_len());
    expect_len("v", v.len(), shape.key_len());
    expect_len("out", out.len(), shape.query_len());
    expect_len("lse", lse.len(), shape.queries * shape.heads);
    cpu::forward(Isa::best(), shape, mask, scale, q, k, v, out, lse);
}

/// Gradients of [`forward`]: overwrites `dq`, `dk`, `dv`, given its inputs, its results and `dout`.
#[allow(clippy::too_many_arguments, reason = "tensors of one formula, in its order")]
pub fn backward(
    shape: &Shape,
    mask: &Mask,
    scale: f32,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    out: &[f32],
    lse: &[f32],
    dout: &[f32],
    dq: &mut [f32],
    dk: &mut [f32],
    dv: &mut [f32],
) {
    shape.check(mask);
    for (name, len) in [("q", q.len()), ("out", out.len()), ("dout", dout.len()), ("dq", dq.len())] {
        expect_len(name, len, shape.query_len());
    }
    for (name, len) in [("k", k.len()), ("v", v.len()), ("dk", dk.len()), ("dv", dv.len())] {
        expect_len(name, len, shape.key_len());
    }
    expect_len("lse", lse.len(), shape.queries * shape.heads);
    cpu::backward(Isa::best(), shape, mask, scale, q, k, v, out, lse, dout, dq, dk, dv);
}
