//! Exams: facts said at given places of one document, and asked for at its end.

use std::ops::Range;

use super::sentence::Sentence;
use super::world::{Fact, Kind};
use super::writer::Writer;
use super::{Density, Seed};
use crate::data::{Encoder, Error, Rng};

/// Most keys in one exam; the other half of the names is left for the text around them.
pub const MOST_KEYS: usize = 20;

/// Sentences before the first fact; the document's head is cut inside them, so that the length is exact.
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
    /// Where the answer was to be said, as a share of the document.
    pub depth: f64,
    /// How many tokens before this answer it was said.
    pub distance: usize,
    /// The answer's tokens, without a blank one before it: `tokens[i]` is to be predicted by `logits[i - 1]`, for each `i`.
    pub answer: Range<usize>,
}

/// A document of exactly `length` tokens with one key said at each depth (0 is its beginning, 1 just before the
/// questions) and every one of them asked at the end, in random order. Other keys, other people, other questions lie
/// between; the people who are asked about appear nowhere else.
///
/// # Errors
/// Depths outside 0 to 1, more than [`MOST_KEYS`], or a length too short to hold the keys and the questions.
pub fn exam(encoder: &Encoder, seed: Seed, length: usize, depths: &[f64]) -> Result<Exam, Error> {
    let mut depths = checked(depths)?;
    depths.sort_by(f64::total_cmp);
    let mut draft = Draft::new(encoder, seed.stream(1), Density::Standard, length, depths.len());
    for (index, depth) in depths.into_iter().enumerate() {
        let fact = draft.key(index);
        let (statement, question) = (draft.writer.world.statement(&fact), draft.writer.world.question(&fact));
        let hidden = draft.hide(Place::Depth(depth), fact, statement)?;
        draft.ask(hidden, question)?;
    }
    draft.shuffled().write()
}

/// The depths, if an exam can have them.
pub(super) fn checked(depths: &[f64]) -> Result<Vec<f64>, Error> {
    if depths.len() > MOST_KEYS {
        return Err(Error::Depths { what: format!("{} depths; an exam holds at most {MOST_KEYS}", depths.len()) });
    }
    match depths.iter().find(|depth| !(0.0..=1.0).contains(*depth)) {
        Some(depth) => Err(Error::Depths { what: format!("depth {depth}; a depth is a share from 0 to 1") }),
        None => Ok(depths.to_vec()),
    }
}

/// Where a fact is to be said.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// At this share of the text before the questions.
    Depth(f64),
    /// So many tokens before it is answered.
    Distance(usize),
}

/// A fact to hide.
struct Hidden {
    place: Place,
    fact: Fact,
    sentence: Sentence,
    /// Tokens of the sentence, and those before its answer.
    size: (usize, usize),
}

/// A question about one of them.
struct Asked {
    hidden: usize,
    sentence: Sentence,
    size: (usize, usize),
}

/// An exam before it is written. People from [`Draft::first`] on come up only where they are hidden and asked for.
pub(super) struct Draft<'a> {
    pub(super) writer: Writer<'a>,
    length: usize,
    hidden: Vec<Hidden>,
    asked: Vec<Asked>,
    shuffled: bool,
}

impl<'a> Draft<'a> {
    /// An empty exam of `length` tokens that keeps `people` for its facts.
    pub(super) fn new(encoder: &'a Encoder, rng: Rng, density: Density, length: usize, people: usize) -> Self {
        let writer = Writer::new(encoder, rng, density, length, people);
        Self { writer, length, hidden: vec![], asked: vec![], shuffled: false }
    }

    /// The first person kept.
    pub(super) fn first(&self) -> usize {
        self.writer.world.public()
    }

    /// A key of the `index`-th person kept.
    pub(super) fn key(&mut self, index: usize) -> Fact {
        self.fact(Kind::Key, index)
    }

    pub(super) fn fact(&mut self, kind: Kind, index: usize) -> Fact {
        let person = self.first() + index;
        self.writer.world.fact(&mut self.writer.rng, kind, person)
    }

    /// Hides a fact; what comes back is its number.
    pub(super) fn hide(&mut self, place: Place, fact: Fact, sentence: Sentence) -> Result<usize, Error> {
        let size = self.writer.measure(&sentence)?;
        self.hidden.push(Hidden { place, fact, sentence, size });
        Ok(self.hidden.len() - 1)
    }

    /// Asks for a fact at the end, behind the questions that were asked before.
    pub(super) fn ask(&mut self, hidden: usize, sentence: Sentence) -> Result<(), Error> {
        let size = self.writer.measure(&sentence)?;
        self.asked.push(Asked { hidden, sentence, size });
        Ok(())
    }

    /// Asks in random order.
    pub(super) fn shuffled(self) -> Self {
        Self { shuffled: true, ..self }
    }

    /// The document: prelude, body, questions.
    pub(super) fn write(mut self) -> Result<Exam, Error> {
        let begin = self.writer.len();
        for _ in 0..PRELUDE {
            self.writer.filler()?;
        }
        self.fits()?;
        let said = self.body()?;
        let mut questions = self.tail(&said)?;
        let excess = self.writer.len() - self.length;
        let mut tokens = self.writer.document.tokens;
        tokens.drain(begin..begin + excess);
        for question in &mut questions {
            question.answer = question.answer.start - excess..question.answer.end - excess;
        }
        Ok(Exam { tokens, questions })
    }

    fn tail_size(&self) -> usize {
        self.asked.iter().map(|asked| asked.size.0).sum()
    }

    fn fits(&self) -> Result<(), Error> {
        let hidden = self.hidden.iter().map(|hidden| hidden.size.0);
        let needed = self.writer.len() + hidden.sum::<usize>() + self.tail_size();
        if needed > self.length {
            return Err(Error::ExamTooShort { length: self.length, needed, facts: self.hidden.len() });
        }
        Ok(())
    }

    /// The token from which on each fact is said.
    fn places(&self) -> Vec<usize> {
        let body = self.length - self.tail_size();
        let place = |(index, hidden): (usize, &Hidden)| match hidden.place {
            Place::Depth(depth) => (depth * body as f64).ceil() as usize,
            Place::Distance(distance) => self.answered(index).saturating_sub(distance + hidden.size.1),
        };
        self.hidden.iter().enumerate().map(place).collect()
    }

    /// The token where fact `hidden` is answered, when questions keep their order.
    fn answered(&self, hidden: usize) -> usize {
        let before = self.asked.iter().take_while(|asked| asked.hidden != hidden).map(|asked| asked.size.0);
        let inside = self.asked.iter().find(|asked| asked.hidden == hidden).map_or(0, |asked| asked.size.1);
        self.length - self.tail_size() + before.sum::<usize>() + inside
    }

    /// The text that hides the facts, each from its place on; which of the world's facts each became. The document has at
    /// least its length then, and at most one sentence more.
    fn body(&mut self) -> Result<Vec<usize>, Error> {
        let body = self.length - self.tail_size();
        let places = self.places();
        let mut order: Vec<usize> = (0..places.len()).collect();
        order.sort_by_key(|&index| places[index]);
        let mut left: usize = self.hidden.iter().map(|hidden| hidden.size.0).sum();
        let (mut said, mut next) = (vec![0; order.len()], 0);
        loop {
            let full = self.writer.len() + left >= body;
            match order.get(next) {
                Some(&index) if full || self.writer.len() >= places[index] => {
                    said[index] = self.writer.world.facts.len();
                    let Hidden { fact, sentence, size, .. } = &self.hidden[index];
                    self.writer.state_as(*fact, sentence)?;
                    (left, next) = (left - size.0, next + 1);
                }
                None if full => return Ok(said),
                _ => self.writer.event()?,
            }
        }
    }

    fn tail(&mut self, said: &[usize]) -> Result<Vec<Question>, Error> {
        let mut order: Vec<usize> = (0..self.asked.len()).collect();
        if self.shuffled {
            self.writer.rng.shuffle(&mut order);
        }
        let ask = |index: usize| {
            let Asked { hidden, sentence, .. } = &self.asked[index];
            let before = self.writer.world.facts[said[*hidden]].said;
            let answer = self.writer.repeat(said[*hidden], sentence)?;
            let depth = match self.hidden[*hidden].place {
                Place::Depth(depth) => depth,
                Place::Distance(distance) => 1.0 - distance as f64 / self.length as f64,
            };
            Ok(Question { depth, distance: answer.start - before, answer: self.writer.spoken(answer) })
        };
        order.into_iter().map(ask).collect()
    }
}
