//! Recall of keys: one document hides a key at each depth and asks for all of them at its end.

use kernels::device::Device;
use serde::{Deserialize, Serialize};

use super::Error;
use super::exam::{Marks, sit};
use crate::data::Encoder;
use crate::data::chronicle::{Exam, Seed, exam};
use crate::engine::Engine;

/// Where keys are hidden, as shares of the document.
pub const DEPTHS: [f64; 5] = [0.0, 0.25, 0.5, 0.75, 1.0];

/// Recall at one length and depth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PasskeyScore {
    /// Tokens of the document, questions included.
    pub context: usize,
    /// Where the key was said.
    pub depth: f64,
    /// Keys of which every token was the most likely one.
    pub correct: usize,
    /// Keys asked for.
    pub trials: usize,
}

/// Reads `documents` exams of `context` tokens, each once, and counts per depth the keys that were recalled whole.
///
/// # Errors
/// A context too short for the questions, or a failure of the engine.
pub fn passkey<D: Device>(
    engine: &mut Engine<D>,
    encoder: &Encoder,
    context: usize,
    documents: usize,
    seed: u64,
    on_document: &mut dyn FnMut(usize),
) -> Result<Vec<PasskeyScore>, Error> {
    let mut scores = DEPTHS.map(|depth| PasskeyScore { context, depth, correct: 0, trials: 0 }).to_vec();
    for index in 0..documents {
        let exam = exam(encoder, Seed::eval(seed, index as u64), context, &DEPTHS)?;
        let marks = sit(engine, &exam)?;
        add(&exam, &marks, &mut scores);
        on_document(index + 1);
    }
    Ok(scores)
}

/// Adds one exam's answers, read elsewhere, to the depth that they belong to.
pub(crate) fn tally(exam: &Exam, predictions: &[u32], scores: &mut [PasskeyScore]) {
    let marks: Vec<Marks> = exam.questions.iter().map(|question| Marks::of(exam, question, predictions)).collect();
    add(exam, &marks, scores);
}

fn add(exam: &Exam, marks: &[Marks], scores: &mut [PasskeyScore]) {
    for (question, marks) in exam.questions.iter().zip(marks) {
        let nearest = |score: &&mut PasskeyScore| (score.depth - question.depth).abs() < 1e-9;
        if let Some(score) = scores.iter_mut().find(nearest) {
            score.correct += marks.correct;
            score.trials += marks.trials;
        }
    }
}
