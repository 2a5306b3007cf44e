//! Mean squared difference, a row at a time; a row's sum is in `f64`.

use rayon::prelude::*;

use super::{Job, counts};

/// Rows of one task at least.
const ROWS: usize = 16;

pub(crate) fn run(job: &Job, losses: &mut [f32], dx: &mut [f32]) {
    let factor = 2.0 * job.grad_scale / job.hidden as f32;
    let inputs = job.x.par_chunks(job.hidden).zip(job.y.par_chunks(job.hidden)).zip(job.targets);
    let outputs = losses.par_iter_mut().zip(dx.par_chunks_mut(job.hidden));
    outputs.zip(inputs).with_min_len(ROWS).for_each(|((loss, dx), ((x, y), &target))| {
        if !counts(target) {
            *loss = 0.0;
            dx.fill(0.0);
            return;
        }
        let mut sum = 0f64;
        for ((dx, x), y) in dx.iter_mut().zip(x).zip(y) {
            let difference = x - y;
            sum += f64::from(difference) * f64::from(difference);
            *dx = factor * difference;
        }
        *loss = (sum / job.hidden as f64) as f32;
    });
}
