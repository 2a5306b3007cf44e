//! Matrix products of a linear layer and its gradients: `y = scale · x · wᵀ`, weights `[outputs, inputs]` as
//! PyTorch stores them.

pub(crate) mod cpu;
#[cfg(test)]
pub(crate) mod reference;

use crate::{expect_len, simd::Isa};

/// Sizes of one linear layer applied to a batch of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dims {
    /// Rows of `x` and `y`.
    pub rows: usize,
    /// Columns of `x` and of `w`.
    pub inputs: usize,
    /// Columns of `y`, rows of `w`.
    pub outputs: usize,
}

/// What happens to the values already in the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// They are overwritten.
    Set,
    /// The product is added to them.
    Add,
}

/// `y (+)= scale · x · wᵀ` with `x` `[rows, inputs]`, `w` `[outputs, inputs]`, `y` `[rows, outputs]`.
pub fn forward(dims: Dims, x: &[f32], w: &[f32], y: &mut [f32], scale: f32, write: Write) {
    expect_len("x", x.len(), dims.rows * dims.inputs);
    expect_len("w", w.len(), dims.outputs * dims.inputs);
    expect_len("y", y.len(), dims.rows * dims.outputs);
    cpu::forward(Isa::best(), dims, x, w, y, scale, write);
}

/// `dx (+)= scale · dy · w` with `dy` `[rows, outputs]`, `w` `[outputs, inputs]`, `dx` `[rows, inputs]`.
pub fn backward_input(dims: Dims, dy: &[f32], w: &[f32], dx: &mut [f32], scale: f32, write: Write) {
    expect_len("dy", dy.len(), dims.rows * dims.outputs);
    expect_len("w", w.len(), dims.outputs * dims.inputs);
    expect_len("dx", dx.len(), dims.rows * dims.inputs);
    cpu::backward_input(Isa::best(), dims, dy, w, dx, scale, write);
}

/// `dw (+)= scale · dyᵀ · x` with `dy` `[rows, outputs]`, `x` `[rows, inputs]`, `dw` `[outputs, inputs]`.
pub fn backward_weight(dims: Dims, dy: &[f32], x: &[f32], dw: &mut [f32], scale: f32, write: Write) {
    expect_len("dy", dy.len(), dims.rows * dims.outputs);
    expect_len("x", x.len(), dims.rows * dims.inputs);
    expect_len("dw", dw.len(), dims.outputs * dims.inputs);
    cpu::backward_weight(Isa::best(), dims, dy, x, dw, scale, write);
}
