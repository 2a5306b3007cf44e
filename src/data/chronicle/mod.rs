//! Chronicles: endless text in a small English, whose facts are said once and come back at every distance.
//!
//! People, places, keys and things are drawn anew for each document and can be predicted only by looking back to where
//! they were last said. The distance back is log-uniform from a few tokens to the whole document, and no offset is
//! preferred, so the loss at a position tells how far back a model sees. Between the facts stand sentences about weather
//! and days that need no memory.

mod exam;
mod ledger;
mod lexicon;
mod papers;
mod sentence;
mod tokenizer;
mod world;
mod writer;

use std::ops::Range;

use super::encoder::Encoder;
use super::error::Error;
use super::rng::Rng;

pub use exam::{Exam, MOST_KEYS, Question, exam};
pub use papers::{at_distance, needles, questions, topic_count, topics};
pub use tokenizer::{BOS, EOS, VOCAB, tokenizer_config_json, tokenizer_json};

pub(super) use lexicon::words;
pub(super) use sentence::Sentence;

/// Names one document. Training and evaluation draw from separate worlds: no number of one is a number of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Seed {
    domain: u64,
    numbers: [u64; 2],
}

impl Seed {
    /// Document `index` of the training run `seed`.
    pub fn train(seed: u64, index: u64) -> Self {
        Self { domain: 0x7472_6169_6e00_0001, numbers: [seed, index] }
    }

    /// Document `index` of the evaluation `seed`.
    pub fn eval(seed: u64, index: u64) -> Self {
        Self { domain: 0x6576_616c_0000_0002, numbers: [seed, index] }
    }

    pub(super) fn stream(self, purpose: u64) -> Rng {
        Rng::new(&[self.domain, purpose, self.numbers[0], self.numbers[1]])
    }
}

/// How much of the text has to be remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Density {
    /// Nothing but names and their words, over and over: how a model begins to look back at all.
    Ledger,
    /// Nearly every sentence states or recalls something: how a small model first learns to look back.
    Dense,
    /// As dense, and most of what was said rests before it comes back, for any time up to the whole document: what a model
    /// reads when its window is being extended.
    Distant,
    /// Three sentences in ten are filler or only mention someone.
    Standard,
    /// As standard, of people who have no key: what needles are hidden in.
    Keyless,
}

impl Density {
    /// Percent of sentences that are filler, and that only mention someone.
    fn percent(self) -> (usize, usize) {
        match self {
            Self::Ledger | Self::Dense | Self::Distant => (5, 10),
            Self::Standard | Self::Keyless => (20, 10),
        }
    }
}

impl Density {
    /// Percent of facts that rest after they were said.
    fn resting(self) -> usize {
        match self {
            Self::Distant => 75,
            Self::Ledger | Self::Dense | Self::Standard | Self::Keyless => 15,
        }
    }
}

/// A document with its account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// The text, begin token included where the tokenizer has one.
    pub tokens: Vec<u32>,
    /// Facts that were said before and come back, in the order of the text.
    pub recalls: Vec<Recall>,
    /// Tokens of facts that were said for the first time; nobody can predict them.
    pub facts: Vec<Range<usize>>,
}

/// Tokens that repeat something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recall {
    /// Which tokens.
    pub answer: Range<usize>,
    /// How many tokens ago it was last said.
    pub distance: usize,
}

/// A document of exactly `length` tokens; the last sentence may be cut.
///
/// # Errors
/// Only what the tokenizer refuses.
pub fn document(encoder: &Encoder, seed: Seed, length: usize, density: Density) -> Result<Document, Error> {
    let mut document = match density {
        Density::Ledger => ledger::write(encoder, &mut seed.stream(2), length)?,
        Density::Dense | Density::Distant | Density::Standard | Density::Keyless => {
            let mut writer = writer::Writer::new(encoder, seed.stream(0), density, length, 0);
            while writer.len() < length {
                writer.event()?;
            }
            writer.document
        }
    };
    document.tokens.truncate(length);
    document.recalls.retain(|recall| recall.answer.end <= length);
    document.facts.retain(|fact| fact.end <= length);
    Ok(document)
}

#[cfg(test)]
mod tests;
