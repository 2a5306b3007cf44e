//! AdamW over fixed chunks, one pass over the four arrays.

use super::Hyper;
use crate::simd::{Isa, multiversion, vector::Vector};
use rayon::prelude::*;

/// Values of one task.
const CHUNK: usize = 1 << 13;

/// The step's scalars, formed in `f64` as PyTorch does and rounded once.
#[derive(Clone, Copy)]
struct Factors {
    grad: f32,
    decay: f32,
    one_minus_beta1: f32,
    beta2: f32,
    one_minus_beta2: f32,
    step_size: f32,
    root_correction: f32,
    eps: f32,
}

impl Factors {
    fn of(hyper: &Hyper) -> Factors {
        let correction = |beta: f64| 1.0 - beta.powf(hyper.step as f64);
        Factors {
            grad: hyper.grad_scale as f32,
            decay: (1.0 - hyper.lr * hyper.weight_decay) as f32,
            one_minus_beta1: (1.0 - hyper.beta1) as f32,
            beta2: hyper.beta2 as f32,
            one_minus_beta2: (1.0 - hyper.beta2) as f32,
            step_size: (hyper.lr / correction(hyper.beta1)) as f32,
            root_correction: correction(hyper.beta2).sqrt() as f32,
            eps: hyper.eps as f32,
        }
    }
}

pub(crate) fn step(isa: Isa, hyper: &Hyper, param: &mut [f32], grad: &[f32], m: &mut [f32], v: &mut [f32]) {
    let factors = Factors::of(hyper);
    let moments = m.par_chunks_mut(CHUNK).zip(v.par_chunks_mut(CHUNK));
    param
        .par_chunks_mut(CHUNK)
        .zip(grad.par_chunks(CHUNK))
        .zip(moments)
        .for_each(|((param, grad), (m, v))| step_chunk(isa, factors, param, grad, m, v));
}

multiversion!(fn step_chunk(
    f: Factors, param: &mut [f32], grad: &[f32], m: &mut [f32], v: &mut [f32],
) => step_body);

#[inline(always)]
fn step_body<V: Vector>(f: Factors, param: &mut [f32], grad: &[f32], m: &mut [f32], v: &mut [f32]) {
    for (((p, &g), m), v) in param.iter_mut().zip(grad).zip(m).zip(v) {
        let g = g * f.grad;
        *m = V::fused(g - *m, f.one_minus_beta1, *m);
        *v = V::fused(f.one_minus_beta2 * g, g, *v * f.beta2);
        let denominator = v.sqrt() / f.root_correction + f.eps;
        *p = *p * f.decay - f.step_size * *m / denominator;
    }
}
