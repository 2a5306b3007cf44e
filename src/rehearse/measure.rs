//! The three states of a rehearsal, measured on the same documents.

use std::ops::Range;

use kernels::device::Device;

use crate::data::chronicle::{Seed, exam};
use crate::data::{Batch, Encoder};
use crate::engine::Engine;
use crate::eval::{self, DEPTHS};
use crate::report::RehearsalRow;

/// Tokens read per context length, in whole documents of at least [`LEAST`] and at most [`MOST`].
const TOKENS: usize = 32 * 1024;
const LEAST: usize = 6;
const MOST: usize = 32;

/// Positions per point of the plotted loss, as a share of the context.
const POINTS: usize = 64;

/// Loss and recall at one length.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// The means.
    pub row: RehearsalRow,
    /// (position, mean nll), for the plot.
    pub curve: Vec<(f64, f64)>,
    /// Recall by depth.
    pub depths: Vec<eval::PasskeyScore>,
}

/// Documents that [`measure`] reads at a length.
pub fn documents(context: usize) -> usize {
    (TOKENS / context).clamp(LEAST, MOST)
}

/// Reads exams of `context` tokens, each once: loss by position and recall come out of the same pass.
///
/// `state` is what the row is called; the loss inside `native` tokens is a mean of its own.
///
/// # Errors
/// A context too short for its keys and questions, or a failure of the engine.
pub fn measure<D: Device>(
    engine: &mut Engine<D>,
    encoder: &Encoder,
    state: &'static str,
    (native, context): (usize, usize),
    seed: u64,
    on_document: &mut dyn FnMut(),
) -> Result<Measured, super::Error> {
    let mut sums = vec![(0.0, 0.0); context];
    let score = |depth| eval::PasskeyScore { context, depth, correct: 0, trials: 0 };
    let mut depths: Vec<_> = DEPTHS.into_iter().map(score).collect();
    for index in 0..documents(context) {
        let exam = exam(encoder, Seed::eval(seed, index as u64), context, &DEPTHS)?;
        let batch = Batch::sequence(exam.tokens.clone(), &[0])?;
        let read = engine.score(&batch)?;
        for (row, &nll) in read.nll.iter().enumerate().take(context - 1) {
            let sum = &mut sums[row + 1];
            *sum = (sum.0 + f64::from(nll), sum.1 + 1.0);
        }
        eval::tally(&exam, &read.predictions, &mut depths);
        on_document();
    }
    let (correct, trials) = depths.iter().fold((0, 0), |all, one| (all.0 + one.correct, all.1 + one.trials));
    let row = RehearsalRow {
        state,
        context,
        in_window_nll: mean(&sums, 0..native.min(context)),
        last_quarter_nll: mean(&sums, context - context / 4..context),
        passkey: correct as f64 / trials.max(1) as f64,
    };
    Ok(Measured { row, curve: curve(&sums), depths })
}

fn mean(sums: &[(f64, f64)], rows: Range<usize>) -> f64 {
    let (sum, count) = sums[rows].iter().fold((0.0, 0.0), |all, one| (all.0 + one.0, all.1 + one.1));
    sum / count
}

fn curve(sums: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let width = (sums.len() / POINTS).max(1);
    let starts = (0..sums.len()).step_by(width);
    starts.map(|start| ((start + width / 2) as f64, mean(sums, start..(start + width).min(sums.len())))).collect()
}
