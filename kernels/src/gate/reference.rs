//! Naive gated heads.

use crate::attention::Shape;
use crate::conformance::Real;

/// The gate of the number at `index` of `[queries, H, D]`.
fn gate(shape: &Shape, index: usize) -> usize {
    let head = index / shape.head_dim % shape.heads;
    head / (shape.heads / shape.kv_heads)
}

/// `α · full + (1 − α) · stream`.
pub(crate) fn forward<R: Real>(shape: &Shape, gates: &[R], full: &[R], stream: &[R]) -> Vec<R> {
    let mix = |i: usize| {
        let alpha = gates[gate(shape, i)];
        alpha * full[i] + (R::of(1.0) - alpha) * stream[i]
    };
    (0..full.len()).map(mix).collect()
}

/// Gradients of full, stream and gates.
pub(crate) fn backward<R: Real>(shape: &Shape, gates: &[R], full: &[R], stream: &[R], dout: &[R]) -> [Vec<R>; 3] {
    let mut dgates = vec![R::of(0.0); shape.kv_heads];
    let (mut dfull, mut dstream) = (vec![], vec![]);
    for i in 0..dout.len() {
        let alpha = gates[gate(shape, i)];
        dfull.push(alpha * dout[i]);
        dstream.push((R::of(1.0) - alpha) * dout[i]);
        dgates[gate(shape, i)] += dout[i] * (full[i] - stream[i]);
    }
    [dfull, dstream, dgates]
}
