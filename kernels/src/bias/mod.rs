//! A projection's bias: `y[t] += bias` for every row of `[T, C]`; its gradient is the sum of the rows' gradients.

pub(crate) mod cpu;
pub mod cuda;
#[cfg(test)]
pub(crate) mod reference;

use crate::expect_len;

/// Adds `bias` `[C]` to every row of `y` `[T, C]`.
pub fn forward(bias: &[f32], y: &mut [f32]) {
    check_rows("y", y.len(), bias.len());
    cpu::forward(bias, y);
}

/// Adds the sum of the rows of `dy` `[T, C]` to `dbias` `[C]`.
pub fn backward(dy: &[f32], dbias: &mut [f32]) {
    check_rows("dy", dy.len(), dbias.len());
    cpu::backward(dy, dbias);
}

fn check_rows(name: &str, len: usize, width: usize) {
    assert!(width > 0, "kernels: `bias` is empty");
    expect_len(name, len, len / width * width);
}
