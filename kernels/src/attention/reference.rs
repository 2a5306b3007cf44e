//! Naive attention, whole rows of scores at a time.

use super::{Mask, Shape};
use crate::conformance::Real;

/// `(out, lse)`.
pub(crate) fn forward<R: Real>(shape: &Shape, mask: &Mask, scale: R, [q, k, v]: [&[R]; 3]) -> (Vec<R>, Vec<R>) {
    let (mut out, mut lse) = (vec![R::of(0.0); q.len()], Vec::new());
    for (i, h) in rows(shape) {
        let query = query_at(shape, i, h);
        let (p, total) = probabilities(shape, mask, scale, q, k, (i, h));
        lse.push(total);
        for (j, p) in p.into_iter().enumerate() {
            let value = key_at(shape, j, h);
            for d in 0..shape.head_dim {
                out[query + d] += p * v[value + d];
            }
        }
    }
    (out, lse)
}

/// `[dq, dk, dv]`.
pub(crate) fn backward<R: Real>(shape: &Shape, mask: &Mask, scale: R, [q, k, v, dout]: [&[R]; 4]) -> [Vec<R>; 3] {
    let zeros = |len: usize| vec![R::of(0.0); len];
    let (mut dq, mut dk, mut dv) = (zeros(q.len()), zeros(k.len()), zeros(v.len()));
    for (i, h) in rows(shape) {
        let query = query_at(shape, i, h);
        let (p, _) = probabilities(shape, mask, scale, q, k, (i, h));
        let dp = |j: usize| -> R {
            let value = key_at(shape, j, h);
            (0..shape.head_dim).map(|d| dout[query + d] * v[value + d]).sum()
        };
        let dp: Vec<R> = (0..shape.keys).map(dp).collect();
        let delta: R = p.iter().zip(&dp).map(|(&p, &dp)| p * dp).sum();
        for j in 0..shape.keys {
            let (ds, key) = (p[j] * (dp[j] - delta) * scale, key_at(shape, j, h));
            for d in 0..shape.head_dim {
                dv[key + d] += p[j] * dout[query + d];
                dq[query + d] += ds * k[key + d];
                dk[key + d] += ds * q[query + d];
            }
        }
    }
    [dq, dk, dv]
}

/// Softmax over the keys that query `i` sees, 0 elsewhere, and its log-sum-exp.
fn probabilities<R: Real>(
    shape: &Shape,
    mask: &Mask,
    scale: R,
    q: &[R],
    k: &[R],
    (i, h): (usize, usize),
) -> (Vec<R>, R) {
    let query = query_at(shape, i, h);
    let score = |j: usize| -> R {
        let key = key_at(shape, j, h);
        match mask.visible(h, i, j) {
            true => scale * (0..shape.head_dim).map(|d| q[query + d] * k[key + d]).sum::<R>(),
            false => R::of(f64::NEG_INFINITY),
        }
    };
    let scores: Vec<R> = (0..shape.keys).map(score).collect();
    let max = crate::conformance::max(&scores);
    if !(0..shape.keys).any(|j| mask.visible(h, i, j)) {
        return (vec![R::of(0.0); shape.keys], max);
    }
    let sum: R = scores.iter().map(|&s| (s - max).exp()).sum();
    (scores.iter().map(|&s| (s - max).exp() / sum).collect(), max + sum.ln())
}

fn rows(shape: &Shape) -> impl Iterator<Item = (usize, usize)> {
    let heads = shape.heads;
    (0..shape.queries).flat_map(move |i| (0..heads).map(move |h| (i, h)))
}

fn query_at(shape: &Shape, i: usize, h: usize) -> usize {
    (i * shape.heads + h) * shape.head_dim
}

fn key_at(shape: &Shape, j: usize, h: usize) -> usize {
    (j * shape.kv_heads + h / (shape.heads / shape.kv_heads)) * shape.head_dim
}
