//! Matrix products of a linear layer and its gradients: `y = scale · x · wᵀ`, weights `[outputs, inputs]` as
//! PyTorch stores them.

pub(crate) mod cpu;
pub mod cuda;
#[cfg(test)]
pub(crate) mod reference;

use crate::{expect_len, simd::Isa};
use std::ops::Range;

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

/// Up to this many rows of x are multiplied weight row by weight row, at the speed the weights can be read.
pub const FEW_ROWS: usize = 4;

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

/// A weight matrix `[outputs, inputs]` that is unpacked a few rows at a time, into memory of the caller's.
pub struct Packed<'a> {
    /// Writes the values of a range of the matrix, row-major, to a slice of that length.
    pub unpack: &'a dyn Fn(Range<usize>, &mut [f32]),
    /// Where rows are unpacked to, at least one of them; [`TILE`] values are enough for the speed of [`forward`].
    pub tile: &'a mut [f32],
}

/// Values of a [`Packed`] matrix that are worth unpacking together: each tile reads all of the other factor.
pub const TILE: usize = 1 << 20;

impl Packed<'_> {
    /// Hands every tile over: which outputs it belongs to, and its weights.
    fn each(&mut self, dims: Dims, mut run: impl FnMut(Range<usize>, &[f32])) {
        if dims.inputs == 0 {
            return run(0..dims.outputs, &[]);
        }
        let rows = self.tile.len() / dims.inputs;
        assert!(rows > 0, "kernels: a tile of {} values holds no row of {}", self.tile.len(), dims.inputs);
        for first in (0..dims.outputs).step_by(rows) {
            let outputs = first..dims.outputs.min(first + rows);
            let weights = &mut self.tile[..outputs.len() * dims.inputs];
            (self.unpack)(outputs.start * dims.inputs..outputs.end * dims.inputs, weights);
            run(outputs, weights);
        }
    }
}

/// As [`forward`], tile by tile.
pub fn forward_packed(dims: Dims, x: &[f32], mut w: Packed<'_>, y: &mut [f32], scale: f32, write: Write) {
    expect_len("x", x.len(), dims.rows * dims.inputs);
    expect_len("y", y.len(), dims.rows * dims.outputs);
    w.each(dims, |outputs, w| cpu::forward_tile(Isa::best(), dims, outputs, x, w, y, scale, write));
}

/// As [`backward_input`], tile by tile.
pub fn backward_input_packed(dims: Dims, dy: &[f32], mut w: Packed<'_>, dx: &mut [f32], scale: f32, write: Write) {
    expect_len("dy", dy.len(), dims.rows * dims.outputs);
    expect_len("dx", dx.len(), dims.rows * dims.inputs);
    w.each(dims, |outputs, w| {
        let write = if outputs.start == 0 { write } else { Write::Add };
        cpu::backward_input_tile(Isa::best(), dims, outputs, dy, w, dx, scale, write);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::Random;

    /// Tiles of one row, of several, and of all; few rows of x and many.
    #[test]
    fn tiles_give_what_the_whole_matrix_gives() {
        for (rows, inputs, outputs) in [(1, 64, 2100), (3, 40, 7), (70, 33, 130), (129, 256, 96)] {
            let dims = Dims { rows, inputs, outputs };
            let mut random = Random::new(rows as u64);
            let (x, w, dy) =
                (random.normal(rows * inputs), random.normal(inputs * outputs), random.normal(rows * outputs));
            let unpack = |range: Range<usize>, to: &mut [f32]| to.copy_from_slice(&w[range]);
            for (tile, write) in [(inputs, Write::Set), (5 * inputs + 3, Write::Add), (inputs * outputs, Write::Add)] {
                let mut tile = vec![f32::NAN; tile];
                let (mut y, mut dx) = (vec![1.0; rows * outputs], vec![1.0; rows * inputs]);
                let (mut y_whole, mut dx_whole) = (y.clone(), dx.clone());
                forward(dims, &x, &w, &mut y_whole, 0.5, write);
                backward_input(dims, &dy, &w, &mut dx_whole, 0.5, write);
                forward_packed(dims, &x, Packed { unpack: &unpack, tile: &mut tile }, &mut y, 0.5, write);
                backward_input_packed(dims, &dy, Packed { unpack: &unpack, tile: &mut tile }, &mut dx, 0.5, write);
                for (ours, whole) in [(&y, &y_whole), (&dx, &dx_whole)] {
                    let most = whole.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
                    let apart = ours.iter().zip(whole).fold(0.0_f32, |most, (a, b)| most.max((a - b).abs()));
                    assert!(apart <= 1e-5 * most, "{dims:?} {write:?}: {apart}");
                }
            }
        }
    }
}
