//! Selected text (LongRecipe, arXiv 2409.00509): the sentences of a store that hold words of wanted types, laid end to end.
//!
//! What stays is settled when the store is opened, so that every length is known and a sequence is filled to its last token
//! from what follows. Positions are drawn afterwards, for exactly the text that is used. The same sentences stay in every
//! epoch.

pub(crate) mod english;
pub(crate) mod vocabulary;

use std::ops::ControlFlow;
use std::sync::Arc;

use recipe_core::{Form, SelectPlan};

use self::english::{DIGIT, Types, bit};
use self::vocabulary::Vocabulary;
use super::cache::Key;
use super::encoder::Encoder;
use super::error::Error;
use super::rng::Rng;
use super::store::Store;

/// Tokens that are read at once, and of the longest sentence; a longer one is cut.
const CHUNK: usize = 1 << 16;

/// Keeps these draws apart from all others.
const SELECT: u64 = 0x7365_6c65_6374;

/// What is looked for.
struct Wanted {
    vocabulary: Arc<Vocabulary>,
    types: Types,
    /// Share of the other sentences that stays.
    keep: f64,
}

/// A store without the sentences that are not wanted.
pub(super) struct Selected {
    store: Store,
    wanted: Option<Wanted>,
    /// For each document; empty where everything stays.
    kept: Vec<Kept>,
    /// Tokens that stay, specials not counted.
    pub(super) tokens: u64,
}

/// What stays of a document.
#[derive(Default)]
struct Kept {
    tokens: u64,
    /// Places to begin at, so that the end of a long document is found without reading all of it.
    marks: Vec<Mark>,
}

/// A sentence begins at token `at` of a document, behind `kept` tokens that stay.
#[derive(Clone, Copy, Default)]
struct Mark {
    at: u64,
    kept: u64,
}

impl Selected {
    /// Reads all of `store` once where the plan selects.
    pub(super) fn new(store: Store, plan: &SelectPlan, encoder: &Encoder) -> Result<Self, Error> {
        let tokens = store.tokens;
        let mut selected = Self { store, wanted: Wanted::new(plan, encoder), kept: Vec::new(), tokens };
        if let Some(wanted) = &selected.wanted {
            let documents = 0..selected.store.documents();
            let kept: Vec<Kept> =
                documents.map(|document| selected.look(wanted, document)).collect::<Result<_, _>>()?;
            selected.tokens = kept.iter().map(|kept| kept.tokens).sum();
            selected.kept = kept;
        }
        Ok(selected)
    }

    /// What is selected from.
    pub(super) fn whole(&self) -> &Store {
        &self.store
    }

    /// Share of the tokens that stays; nothing where everything does.
    pub(super) fn share(&self) -> Option<f64> {
        self.wanted.as_ref().map(|_| self.tokens as f64 / self.store.tokens.max(1) as f64)
    }

    /// Documents of which something stays, in the order of the files.
    pub(super) fn documents(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.store.documents()).filter(|&document| self.kept.get(document).is_none_or(|kept| kept.tokens > 0))
    }

    /// Digests of the files' content, format and tokenizer, in the order in which they are read.
    pub(super) fn keys(&self) -> impl Iterator<Item = Key> {
        self.store.keys()
    }

    /// Tokens that stay of a document, specials not counted.
    pub(super) fn length(&self, document: usize) -> u64 {
        self.kept.get(document).map_or_else(|| self.store.length(document), |kept| kept.tokens)
    }

    /// Appends tokens `from..from + count` of what stays of a document.
    pub(super) fn read(&self, document: usize, from: u64, count: usize, tokens: &mut Vec<u32>) -> Result<(), Error> {
        let (Some(wanted), Some(kept)) = (&self.wanted, self.kept.get(document)) else {
            return self.store.read(document, from, count, tokens);
        };
        let near = kept.marks.partition_point(|mark| mark.kept <= from);
        let mark = near.checked_sub(1).map_or_else(Mark::default, |near| kept.marks[near]);
        let (mut skip, full) = ((from - mark.kept) as usize, tokens.len() + count);
        self.sentences(wanted, document, mark.at, &mut |at, sentence| {
            if wanted.stays(document, at, sentence) {
                let rest = &sentence[skip.min(sentence.len())..];
                skip = skip.saturating_sub(sentence.len());
                tokens.extend_from_slice(&rest[..rest.len().min(full - tokens.len())]);
            }
            if tokens.len() == full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
    }

    fn look(&self, wanted: &Wanted, document: usize) -> Result<Kept, Error> {
        let mut kept = Kept::default();
        let mut marked = 0;
        self.sentences(wanted, document, 0, &mut |at, sentence| {
            if at - marked >= CHUNK as u64 {
                kept.marks.push(Mark { at, kept: kept.tokens });
                marked = at;
            }
            if wanted.stays(document, at, sentence) {
                kept.tokens += sentence.len() as u64;
            }
            ControlFlow::Continue(())
        })?;
        Ok(kept)
    }

    /// Shows each sentence from the one at token `from` on, with its place. Where a sentence ends depends on nothing before
    /// its beginning.
    fn sentences(
        &self,
        wanted: &Wanted,
        document: usize,
        from: u64,
        visit: &mut dyn FnMut(u64, &[u32]) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let (mut at, length, mut tokens) = (from, self.store.length(document), Vec::new());
        while at < length {
            tokens.clear();
            self.store.read(document, at, CHUNK.min((length - at) as usize), &mut tokens)?;
            let last = at + tokens.len() as u64 == length;
            let mut row = 0;
            while row < tokens.len() {
                let (count, certain) = wanted.vocabulary.sentence(&tokens[row..]);
                // It is read again from its beginning, with more of what follows.
                if !certain && !last && row > 0 {
                    break;
                }
                if visit(at + row as u64, &tokens[row..row + count]).is_break() {
                    return Ok(());
                }
                row += count;
            }
            at += row as u64;
        }
        Ok(())
    }
}

impl Wanted {
    fn new(plan: &SelectPlan, encoder: &Encoder) -> Option<Self> {
        let SelectPlan::Impactful { types, keep, form } = plan else { return None };
        let types = match form {
            Form::Paper => types.iter().fold(0, |all, kind| all | bit(*kind)),
            Form::Code => DIGIT,
        };
        Some(Self { vocabulary: encoder.vocabulary(), types, keep: *keep })
    }

    fn stays(&self, document: usize, at: u64, sentence: &[u32]) -> bool {
        let draw = || (Rng::new(&[SELECT, document as u64, at]).bits() >> 11) as f64 / (1_u64 << 53) as f64;
        self.vocabulary.types(sentence) & self.types != 0 || draw() < self.keep
    }
}

#[cfg(test)]
mod tests;
