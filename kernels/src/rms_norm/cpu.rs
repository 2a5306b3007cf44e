//! RMSNorm over fixed groups of rows; the weight's gradient is summed per group, then over the groups in order.

use crate::simd::{Isa, multiversion, vector::Vector};
use rayon::prelude::*;

/// Rows of one task: fixed, so that the order in which `dweight` is summed is.
const ROWS: usize = 64;
/// Running sums of a dot product, one vector register on the widest set.
const LANES: usize = 16;

pub(crate) fn forward(isa: Isa, x: &[f32], weight: &[f32], eps: f32, y: &mut [f32]) {
    let group = ROWS * weight.len();
    y.par_chunks_mut(group).zip(x.par_chunks(group)).for_each(|(y, x)| forward_rows(isa, x, weight, eps, y));
}

pub(crate) fn backward(
    isa: Isa,
    x: &[f32],
    weight: &[f32],
    eps: f32,
    dy: &[f32],
    dx: &mut [f32],
    dweight: Option<&mut [f32]>,
) {
    let hidden = weight.len();
    let group = ROWS * hidden;
    let tasks = dx.par_chunks_mut(group).zip(x.par_chunks(group)).zip(dy.par_chunks(group));
    let Some(dweight) = dweight else {
        tasks.for_each(|((dx, x), dy)| backward_rows(isa, x, weight, eps, dy, dx, None));
        return;
    };
    let mut partial = vec![0f32; x.len().div_ceil(group) * hidden];
    tasks.zip(partial.par_chunks_mut(hidden)).for_each(|(((dx, x), dy), partial)| {
        backward_rows(isa, x, weight, eps, dy, dx, Some(partial));
    });
    for row in partial.chunks(hidden) {
        dweight.iter_mut().zip(row).for_each(|(sum, p)| *sum += p);
    }
}

multiversion!(fn forward_rows(x: &[f32], weight: &[f32], eps: f32, y: &mut [f32]) => forward_body);
multiversion!(fn backward_rows(
    x: &[f32], weight: &[f32], eps: f32, dy: &[f32], dx: &mut [f32], dweight: Option<&mut [f32]>,
) => backward_body);

#[inline(always)]
fn forward_body<V: Vector>(x: &[f32], weight: &[f32], eps: f32, y: &mut [f32]) {
    let hidden = weight.len();
    for (row, out) in x.chunks_exact(hidden).zip(y.chunks_exact_mut(hidden)) {
        let inv = inverse_rms::<V>(row, eps);
        for ((o, &v), &w) in out.iter_mut().zip(row).zip(weight) {
            *o = v * inv * w;
        }
    }
}

#[inline(always)]
fn backward_body<V: Vector>(
    x: &[f32],
    weight: &[f32],
    eps: f32,
    dy: &[f32],
    dx: &mut [f32],
    mut dweight: Option<&mut [f32]>,
) {
    let hidden = weight.len();
    let rows = x.chunks_exact(hidden).zip(dy.chunks_exact(hidden)).zip(dx.chunks_exact_mut(hidden));
    for ((row, drow), out) in rows {
        let inv = inverse_rms::<V>(row, eps);
        let dot = dot3::<V>(drow, weight, row);
        // dx = inv · (dy·w) − x · inv³ · dot / C
        let back = -inv * inv * inv * dot / hidden as f32;
        for (((o, &v), &d), &w) in out.iter_mut().zip(row).zip(drow).zip(weight) {
            *o += V::fused(d * w, inv, v * back);
        }
        if let Some(dweight) = dweight.as_deref_mut() {
            for ((sum, &v), &d) in dweight.iter_mut().zip(row).zip(drow) {
                *sum = V::fused(d * inv, v, *sum);
            }
        }
    }
}

#[inline(always)]
fn inverse_rms<V: Vector>(row: &[f32], eps: f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let (body, tail) = row.as_chunks::<LANES>();
    for values in body {
        for (lane, &v) in lanes.iter_mut().zip(values) {
            *lane = V::fused(v, v, *lane);
        }
    }
    let rest: f32 = tail.iter().map(|v| v * v).sum();
    let mean = (lanes.iter().sum::<f32>() + rest) / row.len() as f32;
    1.0 / (mean + eps).sqrt()
}

/// `Σ a·b·c`.
#[inline(always)]
fn dot3<V: Vector>(a: &[f32], b: &[f32], c: &[f32]) -> f32 {
    let mut lanes = [0f32; LANES];
    let ((a, a_tail), (b, b_tail), (c, c_tail)) =
        (a.as_chunks::<LANES>(), b.as_chunks::<LANES>(), c.as_chunks::<LANES>());
    for ((a, b), c) in a.iter().zip(b).zip(c) {
        for i in 0..LANES {
            lanes[i] = V::fused(a[i] * b[i], c[i], lanes[i]);
        }
    }
    let rest: f32 = a_tail.iter().zip(b_tail).zip(c_tail).map(|((a, b), c)| a * b * c).sum();
    lanes.iter().sum::<f32>() + rest
}
