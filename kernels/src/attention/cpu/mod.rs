//! Attention on the CPU.
//!
//! Scores are held transposed, `[keys, queries]`, with queries along the vector register: maxima and sums of the softmax
//! are then plain lane-wise operations, and keys and values are read in the layout they come in. One head at a time,
//! blocks of queries against tiles of keys:
//!
//! ```text
//! Sᵀ = K · Qᵀ        P = 2^(S − max)         O = shrink · O + P · V                      forward
//! dPᵀ = V · dOᵀ      dS = P ∘ (dP − delta)   dV += Pᵀ · dO   dK += dSᵀ · Q   dQ += dS · K    backward
//! ```
//!
//! Tiles follow the exact union of what the block's queries see, so that an invisible key costs nothing; only tiles that
//! some query of the block sees in part are masked.

mod backward;
mod few;
mod forward;
mod packed;
mod running;
mod tile;

pub(crate) use backward::backward;
pub(crate) use forward::forward;

use super::{Mask, Shape};
use crate::simd::leaves::WIDTH;
use std::ops::Range;

/// Inputs that both directions share.
pub(super) struct Inputs<'a> {
    shape: &'a Shape,
    mask: &'a Mask<'a>,
    scale: f32,
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
}

impl Inputs<'_> {
    /// Head dimension filled up to whole registers.
    fn padded_dim(&self) -> usize {
        self.shape.head_dim.next_multiple_of(WIDTH)
    }

    /// Query heads per key/value head.
    fn group(&self) -> usize {
        self.shape.heads / self.shape.kv_heads
    }

    /// The query heads that read a key/value head.
    fn readers(&self, kv_head: usize) -> Range<usize> {
        kv_head * self.group()..(kv_head + 1) * self.group()
    }
}
