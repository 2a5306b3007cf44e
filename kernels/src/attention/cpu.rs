//! Row by row, heads in parallel.

use super::{Mask, Shape};
use crate::simd::{Isa, SendPtr};
use rayon::prelude::*;

#[allow(clippy::too_many_arguments, reason = "mirrors the contract")]
pub(crate) fn forward(
    _isa: Isa,
    s: &Shape,
    mask: &Mask,
    scale: f32,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    out: &mut [f32],
    lse: &mut [f32],
) {
    let (d, group) = (s.head_dim, s.heads / s.kv_heads);
    out.par_chunks_mut(s.heads * d).zip(lse.par_chunks_mut(s.heads)).enumerate().for_each(|(i, (out, lse))| {
        let mut scores = vec![0f32; 0];
        for h in 0..s.heads {
            let query = &q[(i * s.heads + h) * d..][..d];
            let o = &mut out[h * d..][..d];
            o.fill(0.0);
            scores.clear();
            let ranges = mask.ranges(i, s.keys);
            for j in ranges.iter().cloned().flatten() {
                let key = &k[(j * s.kv_heads + h / group) * d..][..d];
                scores.push(scale * query.iter().zip(key).map(|(a, b)| a * b).sum::<f32>());
            }
            let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            if max == f32::NEG_INFINITY {
                lse[h] = max;
                continue;
            }
            let sum: f32 = scores.iter().map(|x| (x - max).exp()).sum();
            lse[h] = max + sum.ln();
            for (j, x) in ranges.iter().cloned().flatten().zip(&scores) {
                let p = (x - max).exp() / sum;
                let value = &v[(j * s.kv_heads + h / group) * d..][..d];
                o.iter_mut().zip(value).for_each(|(o, v)| *o += p * v);
            }
        }
    });
}

#[allow(clippy::too_many_arguments, reason = "mirrors the contract")]
pub(crate) fn backward(
    _isa: Isa,
    s: &Shape,
    mask: &Mask,
    scale: f32,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    out: &[f32],
    lse: &[f32],
    dout: &[f32],
    dq: &mut [f32],
    dk: &mut [f32],
    dv: &mut [f32],
) {
    let (d, group) = (s.head_dim, s.heads / s.kv_heads);
    dq.fill(0.0);
    dk.fill(0.0);
    dv.fill(0.0);
    let (dq, dk, dv) = (SendPtr::new(dq), SendPtr::new(dk), SendPtr::new(dv));
    (0..s.kv_heads).into_par_iter().for_each(|g| {
        for i in 0..s.queries {
            for h in g * group..(g + 1) * group {
                let at = (i * s.heads + h) * d;
                let (query, o, dout) = (&q[at..][..d], &out[at..][..d], &dout[at..][..d]);
                let delta: f32 = o.iter().zip(dout).map(|(a, b)| a * b).sum();
                // SAFETY: rows of query heads of group g, touched by this task only.
                let dq = unsafe { dq.slice(at, d) };
                for j in mask.ranges(i, s.keys).into_iter().flatten() {
                    let kat = (j * s.kv_heads + g) * d;
                    let (key, value) = (&k[kat..][..d], &v[kat..][..d]);
                    // SAFETY: rows of head g, touched by this task only.
                    let (dk, dv) = unsafe { (dk.slice(kat, d), dv.slice(kat, d)) };
                    let x = scale * query.iter().zip(key).map(|(a, b)| a * b).sum::<f32>();
                    let p = (x - lse[i * s.heads + h]).exp();
                    let dp: f32 = dout.iter().zip(value).map(|(a, b)| a * b).sum();
                    let ds = p * (dp - delta) * scale;
                    for c in 0..d {
                        dv[c] += p * dout[c];
                        dk[c] += ds * query[c];
                        dq[c] += ds * key[c];
                    }
                }
            }
        }
    });
}
