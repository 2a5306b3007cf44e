//! Products through the `gemm` crate.

use super::{Dims, Write};
use crate::simd::Isa;

/// A strided matrix: value `(r, c)` lies at `r * row + c * col`.
#[derive(Clone, Copy)]
struct Layout {
    row: isize,
    col: isize,
}

impl Layout {
    fn rows_of(width: usize) -> Layout {
        Layout { row: width as isize, col: 1 }
    }

    fn transposed(self) -> Layout {
        Layout { row: self.col, col: self.row }
    }
}

pub(crate) fn forward(_isa: Isa, dims: Dims, x: &[f32], w: &[f32], y: &mut [f32], scale: f32, write: Write) {
    let (x_at, w_at) = (Layout::rows_of(dims.inputs), Layout::rows_of(dims.inputs));
    product(dims.rows, dims.outputs, dims.inputs, y, (x, x_at), (w, w_at.transposed()), scale, write);
}

pub(crate) fn backward_input(_isa: Isa, dims: Dims, dy: &[f32], w: &[f32], dx: &mut [f32], scale: f32, write: Write) {
    let (dy_at, w_at) = (Layout::rows_of(dims.outputs), Layout::rows_of(dims.inputs));
    product(dims.rows, dims.inputs, dims.outputs, dx, (dy, dy_at), (w, w_at), scale, write);
}

pub(crate) fn backward_weight(_isa: Isa, dims: Dims, dy: &[f32], x: &[f32], dw: &mut [f32], scale: f32, write: Write) {
    let (dy_at, x_at) = (Layout::rows_of(dims.outputs), Layout::rows_of(dims.inputs));
    product(dims.outputs, dims.inputs, dims.rows, dw, (dy, dy_at.transposed()), (x, x_at), scale, write);
}

/// `out (+)= scale · a · b` for `a` `[m, k]`, `b` `[k, n]` and a row-major `out` `[m, n]`.
#[allow(clippy::too_many_arguments, reason = "one call of one library function")]
fn product(
    m: usize,
    n: usize,
    k: usize,
    out: &mut [f32],
    (a, a_at): (&[f32], Layout),
    (b, b_at): (&[f32], Layout),
    scale: f32,
    write: Write,
) {
    let out_at = Layout::rows_of(n);
    let keep = if write == Write::Add { 1.0 } else { 0.0 };
    // SAFETY: the callers' length checks cover m·n, m·k and k·n values at these strides; `out` is borrowed mutably, so
    // it overlaps neither input.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            out_at.col,
            out_at.row,
            write == Write::Add,
            a.as_ptr(),
            a_at.col,
            a_at.row,
            b.as_ptr(),
            b_at.col,
            b_at.row,
            keep,
            scale,
            false,
            false,
            false,
            gemm::Parallelism::Rayon(0),
        );
    }
}
