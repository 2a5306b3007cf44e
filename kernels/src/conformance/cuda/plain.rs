//! A plain program's attention in bf16: f32 arithmetic, every matrix that such a program stores rounded to bf16.

use half::bf16;

use crate::attention::{Mask, Shape};

fn round(x: f32) -> f32 {
    bf16::from_f32(x).to_f32()
}

/// Where head `h` of query `i` begins, and the head of key `j` that it reads.
fn places(shape: &Shape, i: usize, h: usize) -> (usize, impl Fn(usize) -> usize + use<>) {
    let Shape { heads, kv_heads, head_dim, .. } = *shape;
    ((i * heads + h) * head_dim, move |j| (j * kv_heads + h / (heads / kv_heads)) * head_dim)
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Softmax of the rounded scores of one query, rounded, and the log-sum-exp.
fn probabilities(
    shape: &Shape,
    mask: &Mask,
    scale: f32,
    q: &[f32],
    k: &[f32],
    (i, h): (usize, usize),
) -> (Vec<f32>, f32) {
    let (query, key) = places(shape, i, h);
    let d = shape.head_dim;
    let score = |j: usize| match mask.visible(h, i, j) {
        true => round(scale * dot(&q[query..query + d], &k[key(j)..key(j) + d])),
        false => f32::NEG_INFINITY,
    };
    let scores: Vec<f32> = (0..shape.keys).map(score).collect();
    let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if max == f32::NEG_INFINITY {
        return (vec![0.0; shape.keys], max);
    }
    let sum: f32 = scores.iter().map(|s| (s - max).exp()).sum();
    (scores.iter().map(|s| round((s - max).exp() / sum)).collect(), max + sum.ln())
}

/// `(out, lse)`.
pub(super) fn forward(shape: &Shape, mask: &Mask, scale: f32, [q, k, v]: [&[f32]; 3]) -> (Vec<f32>, Vec<f32>) {
    let (mut out, mut lse) = (vec![0.0; q.len()], Vec::new());
    for (i, h) in (0..shape.queries).flat_map(|i| (0..shape.heads).map(move |h| (i, h))) {
        let (query, key) = places(shape, i, h);
        let (p, total) = probabilities(shape, mask, scale, q, k, (i, h));
        lse.push(total);
        for (j, p) in p.into_iter().enumerate() {
            (0..shape.head_dim).for_each(|d| out[query + d] += p * v[key(j) + d]);
        }
    }
    (out.into_iter().map(round).collect(), lse)
}

/// `[dq, dk, dv]`.
pub(super) fn backward(shape: &Shape, mask: &Mask, scale: f32, [q, k, v, dout]: [&[f32]; 4]) -> [Vec<f32>; 3] {
    let d = shape.head_dim;
    let (mut dq, mut dk, mut dv) = (vec![0.0; q.len()], vec![0.0; k.len()], vec![0.0; v.len()]);
    for (i, h) in (0..shape.queries).flat_map(|i| (0..shape.heads).map(move |h| (i, h))) {
        let (query, key) = places(shape, i, h);
        let (p, _) = probabilities(shape, mask, scale, q, k, (i, h));
        let dp: Vec<f32> =
            (0..shape.keys).map(|j| round(dot(&dout[query..query + d], &v[key(j)..key(j) + d]))).collect();
        let delta: f32 = p.iter().zip(&dp).map(|(p, dp)| p * dp).sum();
        for j in 0..shape.keys {
            let ds = round(p[j] * (dp[j] - delta) * scale);
            for c in 0..d {
                dv[key(j) + c] += p[j] * dout[query + c];
                dq[query + c] += ds * k[key(j) + c];
                dk[key(j) + c] += ds * q[query + c];
            }
        }
    }
    [dq, dk, dv].map(|values| values.into_iter().map(round).collect())
}
