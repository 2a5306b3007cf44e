//! Joins attentions over disjoint keys, as ring attention and split caches need.

use rayon::prelude::*;

/// Makes `into` the attention of the same queries over the keys of both: `out = Σ out_k · exp(lse_k − lse)` with
/// `lse = ln Σ exp(lse_k)`. Outputs are `[T, H, D]`, log-sum-exps `[T, H]`; −∞ stands for no visible key.
pub fn merge(head_dim: usize, into: (&mut [f32], &mut [f32]), other: (&[f32], &[f32])) {
    let (out, lse) = into;
    crate::expect_len("out", out.len(), lse.len() * head_dim);
    crate::expect_len("other.out", other.0.len(), out.len());
    crate::expect_len("other.lse", other.1.len(), lse.len());
    let rows = out.par_chunks_mut(head_dim).zip(lse).zip(other.0.par_chunks(head_dim)).zip(other.1);
    rows.with_min_len(64).for_each(|(((out, lse), other_out), &other_lse)| {
        let largest = lse.max(other_lse);
        if largest == f32::NEG_INFINITY {
            return;
        }
        let (mine, theirs) = ((*lse - largest).exp(), (other_lse - largest).exp());
        let sum = mine + theirs;
        let (mine, theirs) = (mine / sum, theirs / sum);
        out.iter_mut().zip(other_out).for_each(|(out, other)| *out = *out * mine + other * theirs);
        *lse = largest + sum.ln();
    });
}

#[cfg(test)]
mod tests {
    use super::merge;
    use crate::attention::{Mask, Pattern, Shape, forward};

    #[test]
    fn two_halves_make_the_whole() {
        let (keys, heads, kv_heads, head_dim) = (37, 2, 1, 16);
        let numbers = |seed: u32, len: usize| -> Vec<f32> {
            (0..len as u32)
                .map(|i| (i.wrapping_mul(2654435761).wrapping_add(seed * 40503) % 1009) as f32 / 504.0 - 1.0)
                .collect()
        };
        let (q, k) = (numbers(1, 5 * heads * head_dim), numbers(2, keys * head_dim));
        let v = numbers(3, keys * head_dim);
        let starts = [0; 5];
        let run = |key_row: usize, count: usize| {
            let shape = Shape { queries: 5, keys: count, heads, kv_heads, head_dim };
            let mask = Mask { patterns: Pattern::Full.into(), query_row: 20, key_row, starts: &starts };
            let (mut out, mut lse) = (vec![0.0; 5 * heads * head_dim], vec![0.0; 5 * heads]);
            let part = key_row * head_dim..(key_row + count) * head_dim;
            forward(&shape, &mask, 0.25, &q, &k[part.clone()], &v[part], &mut out, &mut lse);
            (out, lse)
        };
        let (whole, whole_lse) = run(0, keys);
        let (mut out, mut lse) = run(0, 22);
        // Rows 20 and 21 see nothing of the second half.
        let (second, second_lse) = run(22, 15);
        merge(head_dim, (&mut out, &mut lse), (&second, &second_lse));
        let close = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
        assert!(close(&out, &whole) && close(&lse, &whole_lse));
    }
}
