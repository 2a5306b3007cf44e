//! RMSNorm (Zhang & Sennrich 2019): `y = x / sqrt(mean(x²) + eps) · weight`, by rows of `[T, C]`.

pub(crate) mod cpu;
pub mod cuda;
#[cfg(test)]
pub(crate) mod reference;

use crate::{expect_len, simd::Isa};

/// Normalises every row of `x` `[T, C]` into `y`; `weight` `[C]`.
pub fn forward(x: &[f32], weight: &[f32], eps: f32, y: &mut [f32]) {
    check_rows(x.len(), weight.len());
    expect_len("y", y.len(), x.len());
    cpu::forward(Isa::best(), x, weight, eps, y);
}

/// Adds the gradients to `dx` `[T, C]` and, when given, to `dweight` `[C]`.
pub fn backward(x: &[f32], weight: &[f32], eps: f32, dy: &[f32], dx: &mut [f32], dweight: Option<&mut [f32]>) {
    check_rows(x.len(), weight.len());
    expect_len("dy", dy.len(), x.len());
    expect_len("dx", dx.len(), x.len());
    if let Some(dweight) = &dweight {
        expect_len("dweight", dweight.len(), weight.len());
    }
    cpu::backward(Isa::best(), x, weight, eps, dy, dx, dweight);
}

fn check_rows(len: usize, hidden: usize) {
    assert!(hidden > 0 && len.is_multiple_of(hidden), "kernels: `x` holds {len} values, not rows of {hidden}");
}
