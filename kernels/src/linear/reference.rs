//! Naive products.

use super::Dims;
use crate::conformance::Real;

/// `x · wᵀ`.
pub(crate) fn forward<R: Real>(dims: Dims, x: &[R], w: &[R]) -> Vec<R> {
    let mut y = vec![R::of(0.0); dims.rows * dims.outputs];
    for t in 0..dims.rows {
        for o in 0..dims.outputs {
            for i in 0..dims.inputs {
                y[t * dims.outputs + o] += x[t * dims.inputs + i] * w[o * dims.inputs + i];
            }
        }
    }
    y
}

/// `dy · w`.
pub(crate) fn backward_input<R: Real>(dims: Dims, dy: &[R], w: &[R]) -> Vec<R> {
    let mut dx = vec![R::of(0.0); dims.rows * dims.inputs];
    for t in 0..dims.rows {
        for i in 0..dims.inputs {
            for o in 0..dims.outputs {
                dx[t * dims.inputs + i] += dy[t * dims.outputs + o] * w[o * dims.inputs + i];
            }
        }
    }
    dx
}

/// `dyᵀ · x`.
pub(crate) fn backward_weight<R: Real>(dims: Dims, dy: &[R], x: &[R]) -> Vec<R> {
    let mut dw = vec![R::of(0.0); dims.outputs * dims.inputs];
    for o in 0..dims.outputs {
        for i in 0..dims.inputs {
            for t in 0..dims.rows {
                dw[o * dims.inputs + i] += dy[t * dims.outputs + o] * x[t * dims.inputs + i];
            }
        }
    }
    dw
}
