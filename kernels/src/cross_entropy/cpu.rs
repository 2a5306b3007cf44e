//! Chunk by chunk: logits, softmax in place, then the two gradient products.

use super::{IGNORED, Job, Output};
use crate::linear::{self, Dims, Write};
use crate::simd::{Isa, each_register, math::exp, multiversion, vector::Vector};
use rayon::prelude::*;

/// Numbers that are searched for the largest at once.
const SEARCHED: usize = 1024;

pub(crate) fn run(isa: Isa, job: &Job, mut output: Output, logits: &mut [f32]) {
    let tokens = job.targets.len();
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
                *nll = row_loss(isa, row, target, scale, Some(prediction));
            });
        }
        None => tasks.for_each(|((row, &target), nll)| *nll = row_loss(isa, row, target, scale, None)),
    }
}

multiversion!(fn row_loss(
    row: &mut [f32], target: i32, scale: Option<f32>, prediction: Option<&mut u32>,
) -> f32 => row_body);

/// The row's negative log-likelihood; the row becomes its gradient when `scale` is given.
#[inline(always)]
fn row_body<V: Vector>(row: &mut [f32], target: i32, scale: Option<f32>, prediction: Option<&mut u32>) -> f32 {
    let max = largest::<V>(row);
    if let Some(prediction) = prediction {
        *prediction = first::<V>(row, max) as u32;
    }
    if target == IGNORED {
        if scale.is_some() {
            row.fill(0.0);
        }
        return 0.0;
    }
    let target_logit = row[target as usize];
    let sum = if scale.is_some() { exponentiate::<V, true>(row, max) } else { exponentiate::<V, false>(row, max) };
    if let Some(scale) = scale {
        let factor = scale / sum;
        row.iter_mut().for_each(|p| *p *= factor);
        row[target as usize] -= scale;
    }
    sum.ln() + (max - target_logit)
}

/// The largest of a row.
#[inline(always)]
fn largest<V: Vector>(row: &[f32]) -> f32 {
    let (whole, rest) = row.split_at(row.len() - row.len() % V::LANES);
    // SAFETY: `multiversion` enables the instruction set; the registers lie inside the slice.
    let max = unsafe {
        let mut max = V::splat(f32::NEG_INFINITY);
        each_register!(V, whole.len(), |at| max = at.get::<V>(whole).max(max));
        max.largest()
    };
    rest.iter().copied().fold(max, f32::max)
}

/// Where the largest of a row stands first.
#[inline(always)]
fn first<V: Vector>(row: &[f32], max: f32) -> usize {
    let chunk = row.chunks(SEARCHED).position(|chunk| largest::<V>(chunk) == max).unwrap_or(0);
    let from = chunk * SEARCHED;
    from + row[from..].iter().position(|&logit| logit == max).unwrap_or(0)
}

/// `Σ exp(row − max)`; with `KEEP` the row becomes the summands.
#[inline(always)]
fn exponentiate<V: Vector, const KEEP: bool>(row: &mut [f32], max: f32) -> f32 {
    let (whole, rest) = row.split_at_mut(row.len() - row.len() % V::LANES);
    // SAFETY: as above; `rest` is shorter than a register.
    unsafe {
        let (mut sum, max) = (V::splat(0.0), V::splat(max));
        each_register!(V, whole.len(), |at| {
            let p = exp(at.get::<V>(whole).minus(max));
            sum = sum.plus(p);
            if KEEP {
                at.put(whole, p);
            }
        });
        let mut tail = [0.0; 16];
        exp(V::load_part(rest.as_ptr(), rest.len()).minus(max)).store(tail.as_mut_ptr());
        if KEEP {
            rest.copy_from_slice(&tail[..rest.len()]);
        }
        sum.sum() + tail[..rest.len()].iter().sum::<f32>()
    }
}
