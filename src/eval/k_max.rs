//! The effective window by passkey (Position Interpolation, arXiv 2306.15595 §3.3).

use kernels::device::Device;
use serde::{Deserialize, Serialize};

use super::Error;
use super::exam::{ExamProtocol, Marks, sit};
use crate::data::Encoder;
use crate::data::chronicle::{Seed, at_distance};
use crate::engine::Engine;

/// What is tested at a length T, as planned.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct KMaxTest {
    /// Distances n: k = T/n, 2T/n, … T.
    pub distances: usize,
    /// Keys per distance.
    pub trials: usize,
    /// The share of keys that has to be recalled.
    pub success: f64,
}

/// The effective window of documents of one length.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KMax {
    /// Tokens of a document, question included.
    pub context: usize,
    /// The largest tested distance up to which every tested one was recalled often enough; 0 where the nearest was not.
    pub k_max: usize,
    /// Every distance that was read, the nearest first; the last is the first that was missed, where one was.
    pub distances: Vec<Distance>,
    /// What is tested.
    pub tested: KMaxTest,
    /// How it was read.
    pub protocol: ExamProtocol,
}

/// Recall at one distance, read until it was certain whether enough keys are recalled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Distance {
    /// Tokens k that were asked for between a key and its answer.
    pub k: usize,
    /// The mean of what there was: a key stands at the border of a sentence, and behind the document's first ones.
    pub measured: f64,
    /// Whether enough keys are recalled.
    pub passed: bool,
    /// The keys.
    #[serde(flatten)]
    pub marks: Marks,
}

impl KMaxTest {
    /// Documents read at each length, at most.
    pub fn documents(&self) -> usize {
        self.distances.saturating_mul(self.trials)
    }

    /// Whether enough keys are recalled, as soon as no further trial can change it.
    fn verdict(&self, read: &Marks) -> Option<bool> {
        // 20 % of 10 is 2, whatever 0.2 × 10 rounds to.
        let needed = (self.success * self.trials as f64 - 1e-9).ceil() as usize;
        if read.correct >= needed {
            return Some(true);
        }
        let left = self.trials.saturating_sub(read.trials);
        (read.correct + left < needed).then_some(false)
    }
}

/// Reads documents of `context` tokens with one key each, from the nearest distance to the first that is missed. What
/// comes out is what reading all [`KMaxTest::documents`] would give, in a fifth of the passes.
///
/// # Errors
/// A context too short for a key and its question, or a failure of the engine.
pub fn k_max<D: Device>(
    engine: &mut Engine<D>,
    encoder: &Encoder,
    context: usize,
    tested: KMaxTest,
    seed: u64,
    on_document: &mut dyn FnMut(usize),
) -> Result<KMax, Error> {
    let (mut distances, mut documents) = (vec![], 0);
    for index in 0..tested.distances {
        let k = (index + 1) * context / tested.distances;
        let (mut marks, mut measured) = (Marks::default(), 0);
        let passed = loop {
            if let Some(passed) = tested.verdict(&marks) {
                break passed;
            }
            let number = index * tested.trials + marks.trials;
            let exam = at_distance(encoder, Seed::eval(seed, number as u64), context, k)?;
            sit(engine, &exam)?.into_iter().for_each(|one| marks += one);
            measured += exam.questions.iter().map(|question| question.distance).sum::<usize>();
            documents += 1;
            on_document(documents);
        };
        distances.push(Distance { k, measured: measured as f64 / marks.trials.max(1) as f64, passed, marks });
        if !passed {
            break;
        }
    }
    let k_max = distances.iter().rfind(|row| row.passed).map_or(0, |row| row.k);
    Ok(KMax { context, k_max, distances, tested, protocol: ExamProtocol::new(documents, 1, 1) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_falls_when_no_trial_can_change_it() {
        let tested = KMaxTest { distances: 32, trials: 10, success: 0.2 };
        let verdict = |correct, trials| tested.verdict(&Marks { correct, trials, ..Marks::default() });
        assert_eq!([verdict(0, 0), verdict(1, 1), verdict(0, 8), verdict(1, 9)], [None; 4]);
        assert_eq!([verdict(2, 2), verdict(2, 10)], [Some(true); 2]);
        assert_eq!([verdict(0, 9), verdict(1, 10)], [Some(false); 2]);
        let every = KMaxTest { success: 1.0, ..tested };
        assert_eq!(every.verdict(&Marks { correct: 4, trials: 5, ..Marks::default() }), Some(false));
    }
}
