//! Needles in a haystack without keys, over depths and lengths (RULER, arXiv 2404.06654), and the first of many topics
//! (LongEval).

use kernels::device::Device;
use recipe_core::{Needle, Text};
use serde::{Deserialize, Serialize};

use super::exam::{ExamProtocol, Marks, sit};
use super::{DEPTHS, Error};
use crate::data::Encoder;
use crate::data::chronicle::{Seed, needles, topic_count, topics};
use crate::engine::Engine;

/// Recall of one kind of needle at one length and depth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NeedleScore {
    /// `single`, `multikey`, `multivalue` or `multiquery`.
    pub needle: Text,
    /// Tokens of the document, questions included.
    pub context: usize,
    /// Where the needle was said.
    pub depth: f64,
    /// Its answers.
    #[serde(flatten)]
    pub marks: Marks,
    /// How it was read.
    pub protocol: ExamProtocol,
}

/// Recall of the first topic at one length.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TopicsScore {
    /// Tokens of the document, question included.
    pub context: usize,
    /// Topics of each document.
    pub topics: usize,
    /// The first topics.
    #[serde(flatten)]
    pub marks: Marks,
    /// How it was read.
    pub protocol: ExamProtocol,
}

/// Documents that [`needle`] reads for `documents` needles at each depth: one that asks for a single needle is read once
/// per depth.
pub fn needle_documents(kind: Needle, documents: usize) -> usize {
    match kind {
        Needle::Single | Needle::MultiKey => documents * DEPTHS.len(),
        Needle::MultiValue | Needle::MultiQuery => documents,
    }
}

/// Reads [`needle_documents`] documents of `context` tokens, each once, and counts per depth.
///
/// # Errors
/// A context too short for needles and questions, or a failure of the engine.
pub fn needle<D: Device>(
    engine: &mut Engine<D>,
    encoder: &Encoder,
    kind: Needle,
    context: usize,
    documents: usize,
    seed: u64,
    on_document: &mut dyn FnMut(usize),
) -> Result<Vec<NeedleScore>, Error> {
    let hidden = if kind == Needle::Single { 1 } else { DEPTHS.len() };
    let asked = if matches!(kind, Needle::Single | Needle::MultiKey) { 1 } else { DEPTHS.len() };
    let protocol = ExamProtocol::new(documents, hidden, asked);
    let score = |depth| NeedleScore {
        needle: kind.word().into(),
        context,
        depth,
        marks: Marks::default(),
        protocol: protocol.clone(),
    };
    let mut scores = DEPTHS.map(score).to_vec();
    for index in 0..needle_documents(kind, documents) {
        let seed = Seed::eval(seed, index as u64);
        let exam = needles(encoder, seed, context, kind, &DEPTHS, index % DEPTHS.len())?;
        for (question, marks) in exam.questions.iter().zip(sit(engine, &exam)?) {
            if let Some(score) = scores.iter_mut().find(|score| score.depth == question.depth) {
                score.marks += marks;
            }
        }
        on_document(index + 1);
    }
    Ok(scores)
}

/// Reads `documents` documents of `context` tokens, each once, and counts the first topics that were named.
///
/// # Errors
/// A context too short for the topics, or a failure of the engine.
pub fn topic<D: Device>(
    engine: &mut Engine<D>,
    encoder: &Encoder,
    context: usize,
    documents: usize,
    seed: u64,
    on_document: &mut dyn FnMut(usize),
) -> Result<TopicsScore, Error> {
    let mut all = Marks::default();
    for index in 0..documents {
        let exam = topics(encoder, Seed::eval(seed, index as u64), context)?;
        sit(engine, &exam)?.into_iter().for_each(|marks| all += marks);
        on_document(index + 1);
    }
    let count = topic_count(context);
    Ok(TopicsScore { context, topics: count, marks: all, protocol: ExamProtocol::new(documents, count, 1) })
}
