//! Products through the `gemm` crate, whose sums over `inputs` do not depend on the number of threads; a few rows, as in
//! decoding, at the speed the weights can be read.

use super::{Dims, FEW_ROWS, Write};
use crate::simd::{Isa, SendPtr, each_register, multiversion, vector::Vector};
use rayon::prelude::*;
use std::ops::Range;

/// Weights of one task of such a product.
const CHUNK: usize = 1 << 14;
/// Weights too few to wake another thread for.
const ALONE: usize = 1 << 16;

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

    /// Whether a matrix of this size lies inside `len` values.
    fn holds(self, rows: usize, columns: usize, len: usize) -> bool {
        if rows == 0 || columns == 0 {
            return true;
        }
        let last = (rows - 1) * self.row as usize + (columns - 1) * self.col as usize;
        last < len
    }
}

pub(crate) fn forward(isa: Isa, dims: Dims, x: &[f32], w: &[f32], y: &mut [f32], scale: f32, write: Write) {
    forward_tile(isa, dims, 0..dims.outputs, x, w, y, scale, write);
}

/// The columns `outputs` of y, from these rows of the weights.
#[allow(clippy::too_many_arguments, reason = "the product's mathematics and which part of it")]
pub(crate) fn forward_tile(
    isa: Isa,
    dims: Dims,
    outputs: Range<usize>,
    x: &[f32],
    w: &[f32],
    y: &mut [f32],
    scale: f32,
    write: Write,
) {
    if dims.rows <= FEW_ROWS && dims.inputs > 0 {
        let dots = |x: &[f32], w: &[f32], y: &mut [f32]| dots(isa, x, w, y, scale, write == Write::Add);
        return few_rows(dims, outputs, x, (w, dims.inputs), y, dots);
    }
    let (x_at, w_at) = (Layout::rows_of(dims.inputs), Layout::rows_of(dims.inputs));
    let (out, size) = (&mut y[outputs.start..], [dims.rows, outputs.len(), dims.inputs]);
    product(size, (out, Layout::rows_of(dims.outputs)), (x, x_at), (w, w_at.transposed()), scale, write);
}

pub(crate) fn backward_input(isa: Isa, dims: Dims, dy: &[f32], w: &[f32], dx: &mut [f32], scale: f32, write: Write) {
    backward_input_tile(isa, dims, 0..dims.outputs, dy, w, dx, scale, write);
}

/// What the columns `outputs` of dy give, by these rows of the weights.
#[allow(clippy::too_many_arguments, reason = "the product's mathematics and which part of it")]
pub(crate) fn backward_input_tile(
    _isa: Isa,
    dims: Dims,
    outputs: Range<usize>,
    dy: &[f32],
    w: &[f32],
    dx: &mut [f32],
    scale: f32,
    write: Write,
) {
    let (dy_at, w_at) = (Layout::rows_of(dims.outputs), Layout::rows_of(dims.inputs));
    let (dy, size) = (&dy[outputs.start..], [dims.rows, dims.inputs, outputs.len()]);
    product(size, (dx, w_at), (dy, dy_at), (w, w_at), scale, write);
}

pub(crate) fn backward_weight(_isa: Isa, dims: Dims, dy: &[f32], x: &[f32], dw: &mut [f32], scale: f32, write: Write) {
    let (dy_at, x_at) = (Layout::rows_of(dims.outputs), Layout::rows_of(dims.inputs));
    let size = [dims.outputs, dims.inputs, dims.rows];
    product(size, (dw, x_at), (dy, dy_at.transposed()), (x, x_at), scale, write);
}

/// `out (+)= scale · a · b` for `a` `[m, k]`, `b` `[k, n]` and `out` `[m, n]`.
fn product(
    [m, n, k]: [usize; 3],
    (out, out_at): (&mut [f32], Layout),
    (a, a_at): (&[f32], Layout),
    (b, b_at): (&[f32], Layout),
    scale: f32,
    write: Write,
) {
    for (values, at, [rows, columns]) in [(&*out, out_at, [m, n]), (a, a_at, [m, k]), (b, b_at, [k, n])] {
        assert!(at.holds(rows, columns, values.len()), "kernels: a matrix of {rows} × {columns} leaves its values");
    }
    let keep = if write == Write::Add { 1.0 } else { 0.0 };
    // SAFETY: every value lies inside its slice, as asserted; `out` is borrowed mutably, so it overlaps neither input.
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

/// The columns `outputs` of y for few rows of x: `dots` takes a row of x, some weight rows, which have `width` elements in
/// their own format, and the outputs that belong to them. Tasks are whole weight rows.
pub(crate) fn few_rows<T: Sync>(
    dims: Dims,
    outputs: Range<usize>,
    x: &[f32],
    (w, width): (&[T], usize),
    y: &mut [f32],
    dots: impl Fn(&[f32], &[T], &mut [f32]) + Sync,
) {
    let together = CHUNK.div_ceil(dims.inputs);
    if outputs.len() * dims.inputs <= ALONE {
        let rows = x.chunks_exact(dims.inputs).zip(y.chunks_exact_mut(dims.outputs.max(1)));
        return rows.for_each(|(x, y)| dots(x, w, &mut y[outputs.clone()]));
    }
    let y = SendPtr::new(y);
    w.par_chunks(together * width).enumerate().for_each(|(task, w)| {
        for (row, x) in x.chunks_exact(dims.inputs).enumerate() {
            let first = row * dims.outputs + outputs.start + task * together;
            // SAFETY: only this task writes these outputs.
            dots(x, w, unsafe { y.slice(first, w.len() / width) });
        }
    });
}

multiversion!(fn dots(x: &[f32], w: &[f32], y: &mut [f32], scale: f32, add: bool) => dots_body);

/// `y (+)= scale · w · x` for the rows of `w`, one after the other: a single stream through memory is what the processor
/// fetches ahead best.
#[inline(always)]
fn dots_body<V: Vector>(x: &[f32], w: &[f32], y: &mut [f32], scale: f32, add: bool) {
    for (w, y) in w.chunks_exact(x.len()).zip(y) {
        let dot = dot_of::<V>(x, w);
        *y = if add { V::fused(scale, dot, *y) } else { scale * dot };
    }
}

/// The dot product of two rows, in sums that do not wait for each other.
#[inline(always)]
fn dot_of<V: Vector>(x: &[f32], w: &[f32]) -> f32 {
    const SUMS: usize = 4;
    assert!(w.len() == x.len());
    let whole = x.len() - x.len() % (SUMS * V::LANES);
    // SAFETY: `multiversion` enables the instruction set; registers and rests lie inside both rows.
    unsafe {
        let mut sums = [V::splat(0.0); SUMS];
        for at in (0..whole).step_by(SUMS * V::LANES) {
            for (n, sum) in sums.iter_mut().enumerate() {
                let at = at + n * V::LANES;
                *sum = V::load(x.as_ptr().add(at)).mul_add(V::load(w.as_ptr().add(at)), *sum);
            }
        }
        let [mut a, b, c, d] = sums;
        each_register!(V, x.len() - whole, |at| a = at.get::<V>(&x[whole..]).mul_add(at.get(&w[whole..]), a));
        a.plus(b).plus(c.plus(d)).sum()
    }
}
