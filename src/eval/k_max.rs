//! The effective window by passkey (Position Interpolation, arXiv 2306.15595 §3.3).

use kernels::device::Device;
use serde::Serialize;

use super::Error;
use super::exam::{ExamProtocol, Marks, sit};
use crate::data::Encoder;
use crate::data::chronicle::{Seed, distances};
use crate::engine::Engine;

/// Most keys in one document. The paper hides one; more of them share a pass, and each is still asked for once.
const KEYS: usize = 16;

/// What is tested at a length T, as planned.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Window {
    /// Distances n: k = T/n, 2T/n, … T.
    pub distances: usize,
    /// Keys per distance.
    pub trials: usize,
    /// The share of keys that has to be recalled.
    pub success: f64,
}

/// The effective window of documents of one length.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KMax {
    /// Tokens of a document, questions included.
    pub context: usize,
    /// The largest tested distance up to which every tested one was recalled often enough; 0 where the nearest was not.
    pub k_max: usize,
    /// Every tested distance, the nearest first.
    pub distances: Vec<Distance>,
    /// What was tested.
    pub tested: Window,
    /// How it was read.
    pub protocol: ExamProtocol,
}

/// Recall at one distance.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Distance {
    /// Tokens k that were asked for between a key and its answer.
    pub k: usize,
    /// The mean of what there was: a key stands at the border of a sentence, and behind the document's first ones.
    pub measured: f64,
    /// The keys.
    #[serde(flatten)]
    pub marks: Marks,
}

impl Window {
    fn groups(&self) -> usize {
        self.distances.div_ceil(KEYS).max(1)
    }

    /// Documents read at each length.
    pub fn documents(&self) -> usize {
        self.groups() * self.trials
    }

    /// Every `groups`-th distance from `group` on, as (place in the list, tokens).
    fn group(&self, context: usize, group: usize) -> Vec<(usize, usize)> {
        let tokens = |index| (index, (index + 1) * context / self.distances);
        (group..self.distances).step_by(self.groups()).map(tokens).collect()
    }
}

/// Reads [`Window::documents`] documents of `context` tokens, each once; each asks at its end for up to 16 keys, the nearest
/// first.
///
/// # Errors
/// A context too short for the keys and questions, or a failure of the engine.
pub fn k_max<D: Device>(
    engine: &mut Engine<D>,
    encoder: &Encoder,
    context: usize,
    tested: Window,
    seed: u64,
    on_document: &mut dyn FnMut(usize),
) -> Result<KMax, Error> {
    let mut found: Vec<Distance> = vec![Distance::default(); tested.distances];
    for index in 0..tested.documents() {
        let group = tested.group(context, index % tested.groups());
        let wanted: Vec<usize> = group.iter().map(|(_, k)| *k).collect();
        let exam = distances(encoder, Seed::eval(seed, index as u64), context, &wanted)?;
        let marks = sit(engine, &exam)?;
        for (((place, k), question), marks) in group.into_iter().zip(&exam.questions).zip(marks) {
            let row = &mut found[place];
            row.k = k;
            row.measured += question.distance as f64 / tested.trials as f64;
            row.marks += marks;
        }
        on_document(index + 1);
    }
    let protocol = ExamProtocol::new(tested.documents(), tested.distances.min(KEYS), tested.distances.min(KEYS));
    Ok(KMax { context, k_max: reached(&found, tested.success), distances: found, tested, protocol })
}

/// The last distance before the first that was recalled too seldom.
fn reached(distances: &[Distance], success: f64) -> usize {
    distances.iter().take_while(|row| row.marks.share() >= success).last().map_or(0, |row| row.k)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(k: usize, correct: usize) -> Distance {
        Distance { k, measured: k as f64, marks: Marks { correct, trials: 10, ..Marks::default() } }
    }

    #[test]
    fn the_window_ends_before_the_first_failure() {
        assert_eq!(reached(&[row(256, 10), row(512, 2), row(768, 1), row(1024, 10)], 0.2), 512);
        assert_eq!(reached(&[row(256, 1), row(512, 10)], 0.2), 0);
        assert_eq!(reached(&[row(256, 2), row(512, 2)], 0.2), 512);
    }

    #[test]
    fn each_distance_is_in_one_document_of_a_trial() {
        let tested = Window { distances: 32, trials: 10, success: 0.2 };
        assert_eq!(tested.documents(), 20);
        let mut all: Vec<_> = (0..2).flat_map(|group| tested.group(8192, group)).collect();
        all.sort_unstable();
        let expected: Vec<_> = (0..32).map(|index| (index, (index + 1) * 256)).collect();
        assert_eq!(all, expected);
    }
}
