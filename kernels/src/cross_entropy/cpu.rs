//! Chunk by chunk: logits, softmax in place, then the two gradient products.

use super::{IGNORED, Job, Output};
use crate::linear::{self, Dims, Write};
use crate::simd::{Isa, math::exp, mul_add, multiversion};
use rayon::prelude::*;

/// Running maxima and sums of one row, one vector register on the widest set.
const LANES: usize = 16;

pub(crate) fn run(isa: Isa, job: &Job, mut output: Output) {
    let tokens = job.targets.len();
    let mut logits = vec![0f32; job.chunk.min(tokens) * job.vocab];
    for from in (0..tokens).step_by(job.chunk) {
        let rows = job.chunk.min(tokens - from);
        chunk(isa, job, &mut output, from, &mut logits[..rows * job.vocab]);
    }
}

/// The rows `from..` whose logits fit `logits`.
fn chunk(isa: Isa, job: &Job, output: &mut Output, from: usize, logits: &mut [f32]) {
    let rows = logits.len() / job.vocab;
    let dims = Dims { rows, inputs: job.hidden, outputs: job.vocab };
    let span = from * job.hidden..(from + rows) * job.hidden;
    let x = &job.x[span.clone()];
    linear::cpu::forward(isa, dims, x, job.w, logits, 1.0, Write::Set);
    let gradients = output.dx.is_some() || output.dw.is_some();
    softmax(isa, job, output, from, logits, gradients);
    if let Some(dx) = output.dx.as_deref_mut() {
        linear::cpu::backward_input(isa, dims, logits, job.w, &mut dx[span], 1.0, Write::Set);
    }
    if let Some(dw) = output.dw.as_deref_mut() {
        linear::cpu::backward_weight(isa, dims, logits, x, dw, 1.0, Write::Add);
    }
}

/// Fills `nll` and `predictions` of these rows and turns the logits into their gradients.
fn softmax(isa: Isa, job: &Job, output: &mut Output, from: usize, logits: &mut [f32], gradients: bool) {
    let rows = logits.len() / job.vocab;
    let targets = &job.targets[from..from + rows];
    let nll = &mut output.nll[from..from + rows];
    let scale = gradients.then_some(job.grad_scale);
    let tasks = logits.par_chunks_mut(job.vocab).zip(targets).zip(nll);
    match output.predictions.as_deref_mut() {
        Some(predictions) => {
            tasks.zip(&mut predictions[from..from + rows]).for_each(|(((row, &target), nll), prediction)| {
                let (max, loss) = row_loss(isa, row, target, scale, Some(prediction));
                debug_assert!(max.is_nan() || max >= f32::MIN);
                *nll = loss;
            });
        }
        None => tasks.for_each(|((row, &target), nll)| *nll = row_loss(isa, row, target, scale, None).1),
    }
}

multiversion!(fn row_loss(
    row: &mut [f32], target: i32, scale: Option<f32>, prediction: Option<&mut u32>,
) -> (f32, f32) => row_body);

/// The row's maximum and negative log-likelihood; the row becomes its gradient when `scale` is given.
#[inline(always)]
fn row_body<const FMA: bool>(
    row: &mut [f32],
    target: i32,
    scale: Option<f32>,
    prediction: Option<&mut u32>,
) -> (f32, f32) {
    let max = row_max(row);
    if let Some(prediction) = prediction {
        *prediction = row.iter().position(|&l| l == max).unwrap_or(0) as u32;
    }
    if target == IGNORED {
        if scale.is_some() {
            row.fill(0.0);
        }
        return (max, 0.0);
    }
    let target_logit = row[target as usize];
    let sum = match scale {
        Some(_) => exponentiate::<FMA>(row, max),
        None => sum_exp::<FMA>(row, max),
    };
    if let Some(scale) = scale {
        let factor = scale / sum;
        row.iter_mut().for_each(|p| *p *= factor);
        row[target as usize] -= scale;
    }
    (max, sum.ln() + (max - target_logit))
}

#[inline(always)]
fn row_max(row: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (body, tail) = row.as_chunks::<LANES>();
    for values in body {
        for (lane, &v) in lanes.iter_mut().zip(values) {
            *lane = if v > *lane { v } else { *lane };
        }
    }
    lanes.iter().chain(tail).copied().fold(f32::NEG_INFINITY, f32::max)
}

/// Replaces the row by `exp(row − max)` and returns its sum.
#[inline(always)]
fn exponentiate<const FMA: bool>(row: &mut [f32], max: f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let (body, tail) = row.as_chunks_mut::<LANES>();
    for values in body {
        for (lane, v) in lanes.iter_mut().zip(values) {
            *v = exp::<FMA>(*v - max);
            *lane += *v;
        }
    }
    let mut rest = 0.0;
    for v in tail {
        *v = exp::<FMA>(*v - max);
        rest += *v;
    }
    lanes.iter().sum::<f32>() + rest
}

/// `Σ exp(row − max)`.
#[inline(always)]
fn sum_exp<const FMA: bool>(row: &[f32], max: f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let (body, tail) = row.as_chunks::<LANES>();
    for values in body {
        for (lane, &v) in lanes.iter_mut().zip(values) {
            *lane = mul_add::<FMA>(exp::<FMA>(v - max), 1.0, *lane);
        }
    }
    let rest: f32 = tail.iter().map(|&v| exp::<FMA>(v - max)).sum();
    lanes.iter().sum::<f32>() + rest
}
