//! SwiGLU: `silu(gate) · up`, elementwise on `[T, F]`.

pub(crate) mod cpu;
pub mod cuda;
#[cfg(test)]
pub(crate) mod reference;

use crate::{expect_len, simd::Isa};

/// `out = silu(gate) · up`.
pub fn forward(gate: &[f32], up: &[f32], out: &mut [f32]) {
    expect_len("up", up.len(), gate.len());
    expect_len("out", out.len(), gate.len());
    cpu::forward(Isa::best(), gate, up, out);
}

/// Overwrites `gate` and `up` with their gradients, given the gradient of the output.
pub fn backward(dout: &[f32], gate: &mut [f32], up: &mut [f32]) {
    expect_len("gate", gate.len(), dout.len());
    expect_len("up", up.len(), dout.len());
    cpu::backward(Isa::best(), dout, gate, up);
}
