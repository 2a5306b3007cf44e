//! Passkey exams: keys hidden at given depths of one document, all asked for at its end.

use std::ops::Range;

use super::sentence::Sentence;
use super::world::{Fact, Kind};
use super::writer::Writer;
use super::{Density, Seed};
use crate::data::{Encoder, Error};

/// Most keys in one exam; the other half of the names is left for the text around them.
pub const MOST_KEYS: usize = 20;

/// Sentences before the first key; the document's head is cut inside them, so that the length is exact.
const PRELUDE: usize = 4;

/// One document to be read once.
#[derive(Clone, Debug, PartialEq)]
pub struct Exam {
    /// The document, begin token included.
    pub tokens: Vec<u32>,
    /// What is asked at its end, in the order of the questions.
    pub questions: Vec<Question>,
}

/// One question.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// Where the key was said, as a share of the document.
    pub depth: f64,
    /// The answer's tokens: `tokens[i]` is to be predicted by `logits[i - 1]`, for each `i`.
    pub answer: Range<usize>,
}

/// A document of exactly `length` tokens with one key said at each depth (0 is its beginning, 1 just before the
/// questions) and every one of them asked at the end, in random order. Other keys, other people, other questions lie
/// between; the people who are asked about appear nowhere else.
///
/// # Errors
/// Depths outside 0 to 1, more than [`MOST_KEYS`], or a length too short to hold the keys and the questions.
pub fn exam(encoder: &Encoder, seed: Seed, length: usize, depths: &[f64]) -> Result<Exam, Error> {
    check(depths)?;
    let mut writer = Writer::new(encoder, seed.stream(1), Density::Standard, length, depths.len());
    let plan = ExamPlan::new(&mut writer, depths)?;
    let begin = writer.len();
    for _ in 0..PRELUDE {
        writer.filler()?;
    }
    plan.fits(writer.len(), length)?;
    let answers = plan.write(&mut writer, length)?;
    let excess = writer.len() - length;
    let mut tokens = writer.document.tokens;
    tokens.drain(begin..begin + excess);
    let shifted = answers
        .into_iter()
        .map(|(depth, answer)| Question { depth, answer: answer.start - excess..answer.end - excess });
    Ok(Exam { tokens, questions: shifted.collect() })
}

fn check(depths: &[f64]) -> Result<(), Error> {
    if depths.len() > MOST_KEYS {
        return Err(Error::Depths { what: format!("{} depths; an exam holds at most {MOST_KEYS}", depths.len()) });
    }
    match depths.iter().find(|depth| !(0.0..=1.0).contains(*depth)) {
        Some(depth) => Err(Error::Depths { what: format!("depth {depth}; a depth is a share from 0 to 1") }),
        None => Ok(()),
    }
}

/// Keys to hide, the shallowest first.
struct ExamPlan {
    keys: Vec<(f64, Fact)>,
    statements: Vec<usize>,
    questions: usize,
}

impl ExamPlan {
    fn new(writer: &mut Writer<'_>, depths: &[f64]) -> Result<Self, Error> {
        let mut depths = depths.to_vec();
        depths.sort_by(f64::total_cmp);
        let first = writer.world.people.len() - depths.len();
        let Writer { world, rng, .. } = writer;
        let keys: Vec<_> = depths
            .into_iter()
            .enumerate()
            .map(|(index, depth)| (depth, world.fact(rng, Kind::Key, first + index)))
            .collect();
        let measure = |sentence: Sentence| writer.measure(&sentence);
        let statements = keys.iter().map(|(_, fact)| measure(writer.world.statement(fact)));
        let statements = statements.collect::<Result<_, _>>()?;
        let questions = keys.iter().map(|(_, fact)| measure(writer.world.question(fact)));
        let questions = questions.sum::<Result<_, _>>()?;
        Ok(Self { keys, statements, questions })
    }

    fn fits(&self, prelude: usize, length: usize) -> Result<(), Error> {
        let needed = prelude + self.statements.iter().sum::<usize>() + self.questions;
        if needed > length {
            return Err(Error::ExamTooShort { length, needed, keys: self.keys.len() });
        }
        Ok(())
    }

    /// Body, then questions; at least `length` tokens, at most one sentence more.
    fn write(&self, writer: &mut Writer<'_>, length: usize) -> Result<Vec<(f64, Range<usize>)>, Error> {
        let body = length - self.questions;
        let mut said = Vec::with_capacity(self.keys.len());
        loop {
            let left: usize = self.statements[said.len()..].iter().sum();
            let full = writer.len() + left >= body;
            match self.keys.get(said.len()) {
                Some((depth, fact)) if full || writer.len() as f64 >= depth * body as f64 => {
                    said.push(writer.world.facts.len());
                    writer.state(*fact)?;
                }
                None if full => break,
                _ => writer.event()?,
            }
        }
        self.ask(writer, &said)
    }

    fn ask(&self, writer: &mut Writer<'_>, said: &[usize]) -> Result<Vec<(f64, Range<usize>)>, Error> {
        let mut order: Vec<usize> = (0..said.len()).collect();
        writer.rng.shuffle(&mut order);
        let ask = |index: usize| {
            let (depth, fact) = &self.keys[index];
            let question = writer.world.question(fact);
            Ok((*depth, writer.repeat(said[index], &question)?))
        };
        order.into_iter().map(ask).collect()
    }
}
