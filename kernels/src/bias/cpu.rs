//! Groups of rows in parallel; the gradient is summed per group, then over the groups in order.

use rayon::prelude::*;

/// Rows of one task: fixed, so that the order of additions is.
const ROWS: usize = 64;

pub(crate) fn forward(bias: &[f32], y: &mut [f32]) {
    y.par_chunks_mut(ROWS * bias.len()).for_each(|rows| {
        for row in rows.chunks_exact_mut(bias.len()) {
            add(row, bias);
        }
    });
}

pub(crate) fn backward(dy: &[f32], dbias: &mut [f32]) {
    let width = dbias.len();
    let group = ROWS * width;
    let mut partial = vec![0f32; dy.len().div_ceil(group) * width];
    partial.par_chunks_mut(width).zip(dy.par_chunks(group)).for_each(|(sum, rows)| {
        for row in rows.chunks_exact(width) {
            add(sum, row);
        }
    });
    for sum in partial.chunks_exact(width) {
        add(dbias, sum);
    }
}

fn add(to: &mut [f32], from: &[f32]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
}
