//! AdamW (Loshchilov & Hutter 2019), step for step what `torch.optim.AdamW` computes.

pub(crate) mod cpu;
pub mod cuda;
pub mod eight_bit;
#[cfg(test)]
pub(crate) mod reference;

use crate::{expect_len, simd::Isa};

/// Settings of one optimiser step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hyper {
    /// Learning rate of this step.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Number of this step, the first being 1.
    pub step: u64,
    /// Factor on the gradient, for clipping and averaging.
    pub grad_scale: f64,
}

/// One step: updates `param` and its moments `m`, `v` (zero before the first step) from `grad`.
pub fn step(hyper: &Hyper, param: &mut [f32], grad: &[f32], m: &mut [f32], v: &mut [f32]) {
    assert!(hyper.step > 0, "kernels: AdamW counts its steps from 1");
    expect_len("grad", grad.len(), param.len());
    expect_len("m", m.len(), param.len());
    expect_len("v", v.len(), param.len());
    cpu::step(Isa::best(), hyper, param, grad, m, v);
}

/// As [`step`], with moments of 8 bits.
pub fn step_8bit(hyper: &Hyper, param: &mut [f32], grad: &[f32], moments: &mut eight_bit::Moments) {
    assert!(hyper.step > 0, "kernels: AdamW counts its steps from 1");
    expect_len("grad", grad.len(), param.len());
    moments.expect(param.len());
    cpu::step_8bit(Isa::best(), hyper, param, grad, moments);
}
