//! Naive linear + cross-entropy.

use super::IGNORED;
use crate::conformance::Real;

/// Everything the op can compute, gradients of `Σ nll`.
pub(crate) struct Results<R> {
    pub(crate) nll: Vec<R>,
    pub(crate) predictions: Vec<u32>,
    pub(crate) dx: Vec<R>,
    pub(crate) dw: Vec<R>,
}

/// All rows.
pub(crate) fn run<R: Real>(hidden: usize, vocab: usize, x: &[R], w: &[R], targets: &[i32]) -> Results<R> {
    let (mut nll, mut predictions) = (Vec::new(), Vec::new());
    let (mut dx, mut dw) = (vec![R::of(0.0); x.len()], vec![R::of(0.0); w.len()]);
    for (t, &target) in targets.iter().enumerate() {
        let logit = |v: usize| -> R { (0..hidden).map(|c| x[t * hidden + c] * w[v * hidden + c]).sum() };
        let logits: Vec<R> = (0..vocab).map(logit).collect();
        let max = crate::conformance::max(&logits);
        let lse = max + logits.iter().map(|&l| (l - max).exp()).sum::<R>().ln();
        predictions.push(logits.iter().position(|&l| l == max).unwrap_or(0) as u32);
        if target == IGNORED {
            nll.push(R::of(0.0));
            continue;
        }
        nll.push(lse - logits[target as usize]);
        for v in 0..vocab {
            let d = (logits[v] - lse).exp() - R::of(if v == target as usize { 1.0 } else { 0.0 });
            for c in 0..hidden {
                dx[t * hidden + c] += d * w[v * hidden + c];
                dw[v * hidden + c] += d * x[t * hidden + c];
            }
        }
    }
    Results { nll, predictions, dx, dw }
}
