//! Naive SwiGLU.

use crate::conformance::Real;

fn sigmoid<R: Real>(x: R) -> R {
    R::of(1.0) / (R::of(1.0) + (-x).exp())
}

/// `silu(gate) · up`.
pub(crate) fn forward<R: Real>(gate: &[R], up: &[R]) -> Vec<R> {
    gate.iter().zip(up).map(|(&g, &u)| g * sigmoid(g) * u).collect()
}

/// Gradients of gate and up.
pub(crate) fn backward<R: Real>(dout: &[R], gate: &[R], up: &[R]) -> (Vec<R>, Vec<R>) {
    let dgate = (0..gate.len()).map(|i| {
        let s = sigmoid(gate[i]);
        dout[i] * up[i] * s * (R::of(1.0) + gate[i] * (R::of(1.0) - s))
    });
    (dgate.collect(), (0..gate.len()).map(|i| dout[i] * gate[i] * sigmoid(gate[i])).collect())
}
