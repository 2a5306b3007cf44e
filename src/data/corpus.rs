//! All sources of a plan as one endless row of sequences that can be reached in any order.
//!
//! `sequence(seed, index, length)` depends on nothing but its arguments and the files, so a resumed run needs only the
//! index. Each sequence comes from one source; the sources take turns so that after any number of sequences each is within
//! two sequences of its share. How a source's documents are laid out is [`Packed`]'s.

mod survey;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use recipe_core::{Loss, Papers, SelectPlan, SourceKind, SourcePlan};

use super::batch::Batch;
use super::chronicle::{Density, Seed};
use super::dataset::Wanted;
use super::digest::{Digest, hex};
use super::encoder::Encoder;
use super::error::Error;
use super::generated::Generated;
use super::packed::Packed;
use super::select::Selected;
use super::source::{Format, files};
use super::stdin;
use super::store::{Reading, Store};
use super::turns::Turns;
pub use survey::{Held, Inventory, Use};

/// What training reads.
pub struct Corpus {
    encoder: Arc<Encoder>,
    sources: Vec<Source>,
    turns: Turns,
}

struct Source {
    /// As the recipe writes it.
    origin: String,
    share: f64,
    text: Text,
}

enum Text {
    Files(Packed),
    Generated(Generated),
}

/// What one source holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// As the recipe writes it.
    pub origin: String,
    /// Share of the training tokens.
    pub share: f64,
    /// Documents in an epoch; nothing for generated text, which has no end.
    pub documents: Option<usize>,
    /// Tokens in an epoch, begin and end tokens included.
    pub tokens: Option<u64>,
    /// Tokens of the longest document; nothing for short text that is replayed.
    pub longest: Option<u64>,
    /// Share of the files' tokens that is selected; nothing where all of them are.
    pub selected: Option<f64>,
}

impl Corpus {
    /// Opens every source; text that the cache in `cache` does not hold is tokenised first and reported meanwhile.
    ///
    /// `select` says which sentences of `text` and `jsonl` sources are read; everything else is read whole.
    ///
    /// # Errors
    /// A glob without a match, a file that is unreadable, not UTF-8 or not JSONL, a source without text or without a
    /// selected sentence, a cache folder that cannot be written.
    pub fn open(
        plan: &[SourcePlan],
        select: &SelectPlan,
        encoder: Arc<Encoder>,
        cache: &Path,
        report: &mut dyn FnMut(Reading<'_>),
    ) -> Result<Self, Error> {
        if plan.is_empty() {
            return Err(Error::NoSource);
        }
        let open = |source: &SourcePlan| Source::open(source, select, &encoder, cache, report);
        let sources = plan.iter().map(open).collect::<Result<_, _>>()?;
        let turns = Turns::new(plan.iter().map(|source| source.share).collect());
        Ok(Self { encoder, sources, turns })
    }

    /// Nothing but generated documents.
    pub fn chronicle(encoder: Arc<Encoder>, density: Density) -> Self {
        let source =
            Source { origin: "chronicle".to_owned(), share: 1.0, text: Text::Generated(Generated::Chronicle(density)) };
        Self { encoder, sources: vec![source], turns: Turns::new(vec![1.0]) }
    }

    /// Sequence `index` of the run `seed`: exactly `length` tokens.
    ///
    /// # Errors
    /// When the cache cannot be read any more, or a length of 0 is asked for.
    pub fn sequence(&self, seed: u64, index: u64, length: usize) -> Result<Batch, Error> {
        if length == 0 {
            return Err(Error::Batch { what: "a sequence of 0 tokens was asked for".to_owned() });
        }
        let (number, ordinal) = self.turns.turn(index);
        match &self.sources[number].text {
            Text::Files(packed) => packed.sequence([seed, number as u64], ordinal, length),
            Text::Generated(generated) => generated.sequence(&self.encoder, Seed::train(seed, ordinal), length),
        }
    }

    /// The tokenizer that made the tokens.
    pub fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// What the sources hold, in the order of the plan.
    pub fn summaries(&self) -> Vec<Summary> {
        self.sources.iter().map(Source::summary).collect()
    }

    /// What decides every sequence: the sources' words and shares, and the content of their files.
    pub(crate) fn digest(&self) -> String {
        let mut digest = Digest::new();
        for source in &self.sources {
            digest.update(source.origin.as_bytes());
            digest.update(&source.share.to_le_bytes());
            if let Text::Files(packed) = &source.text {
                packed.store.keys().for_each(|key| digest.update(&key));
                if let Some(share) = packed.store.share() {
                    digest.update(&share.to_le_bytes());
                }
            }
        }
        hex(&digest.finish())
    }

    /// How often each source has been read when `index` sequences of `length` are done; 0 for generated text.
    pub fn epochs(&self, index: u64, length: usize) -> Vec<f64> {
        let counts = self.turns.counts(index);
        let epochs = self.sources.iter().zip(counts).map(|(source, count)| match &source.text {
            Text::Files(packed) => count as f64 * length as f64 / packed.tokens as f64,
            Text::Generated(_) => 0.0,
        });
        epochs.collect()
    }

    /// What to know before `sequences` sequences of `length` tokens are read.
    pub fn notes(&self, length: usize, sequences: u64) -> Vec<String> {
        let epochs = self.epochs(sequences, length);
        let sources = self.summaries().into_iter().zip(epochs);
        sources.flat_map(|(source, epochs)| source.notes(length, epochs)).collect()
    }
}

impl Source {
    fn open(
        plan: &SourcePlan,
        select: &SelectPlan,
        encoder: &Encoder,
        cache: &Path,
        report: &mut dyn FnMut(Reading<'_>),
    ) -> Result<Self, Error> {
        let (origin, format) = match &plan.kind {
            SourceKind::Text { glob } => (format!("text(\"{glob}\")"), Format::Text),
            SourceKind::Jsonl { glob, field } => {
                (words("jsonl", glob, field), Format::Jsonl { field: field.to_string() })
            }
            SourceKind::Chat { glob, field } => (words("chat", glob, field), Format::Chat { field: field.to_string() }),
            SourceKind::Parquet { glob, field } => {
                (words("parquet", glob, field), Format::Parquet { field: field.to_string() })
            }
            SourceKind::Dataset { path, split, config, field } => {
                let config = if config.is_empty() { String::new() } else { format!(", config = \"{config}\"") };
                let origin = format!("dataset(\"{path}\", split = \"{split}\"{config}, field = \"{field}\")");
                (origin, Format::Dataset { field: field.to_string() })
            }
            SourceKind::Passkey => return Ok(Self::generated(["passkey", "keys"], plan, Generated::Passkey)),
            SourceKind::Qa => return Ok(Self::generated(["qa", "questions"], plan, Generated::Qa)),
        };
        let store = Store::open(&paths(&plan.kind, cache)?, &format, encoder, cache, report)?;
        if store.tokens == 0 {
            return Err(Error::Empty { origin });
        }
        // A chat template writes its own begin and end tokens; conversations and replays are read whole.
        let chat = format.is_chat();
        let around = if chat { [None, None] } else { [encoder.bos(), encoder.eos()] };
        let select = if chat || plan.replay > 0 { &SelectPlan::All } else { select };
        let store = Selected::new(store, select, encoder)?;
        if store.tokens == 0 {
            return Err(Error::NothingSelected { origin });
        }
        let packed = Packed::new(store, around, [plan.upsample, plan.times], plan.replay);
        Ok(Self { origin: replayed(upsampled(origin, plan), plan), share: plan.share, text: Text::Files(packed) })
    }

    fn generated([word, asked]: [&str; 2], plan: &SourcePlan, make: fn(Papers) -> Generated) -> Self {
        let Papers { asked: count, shallowest, deepest, loss, .. } = plan.papers;
        let loss = if loss == Loss::Answers { "answers" } else { "all" };
        let origin = match plan.papers {
            Papers::USUAL => word.to_owned(),
            _ => format!("{word}({asked} = {count}, depth = ({shallowest}, {deepest}), loss = {loss})"),
        };
        Self { origin, share: plan.share, text: Text::Generated(make(plan.papers)) }
    }

    fn summary(&self) -> Summary {
        let files = match &self.text {
            Text::Files(packed) => Some(packed),
            Text::Generated(_) => None,
        };
        Summary {
            origin: self.origin.clone(),
            share: self.share,
            documents: files.map(|packed| packed.store.documents().count()),
            tokens: files.map(|packed| packed.tokens),
            longest: files.filter(|packed| !packed.replays()).map(|packed| packed.longest),
            selected: files.and_then(|packed| packed.store.share()),
        }
    }
}

fn words(word: &str, glob: &str, field: &str) -> String {
    format!("{word}(\"{glob}\", field = \"{field}\")")
}

/// The files that a source reads.
fn paths(kind: &SourceKind, cache: &Path) -> Result<Vec<PathBuf>, Error> {
    match kind {
        SourceKind::Text { glob }
        | SourceKind::Jsonl { glob, .. }
        | SourceKind::Parquet { glob, .. }
        | SourceKind::Chat { glob, .. } => match &**glob {
            stdin::NAME => Ok(vec![stdin::spooled(cache)?.path]),
            glob => files(glob),
        },
        SourceKind::Dataset { path, split, config, .. } => Wanted { path: Path::new(&**path), split, config }.files(),
        SourceKind::Passkey | SourceKind::Qa => Ok(vec![]),
    }
}

/// The source's words with what it says about long documents.
fn upsampled(origin: String, plan: &SourcePlan) -> String {
    match (origin.strip_suffix(')'), plan.times) {
        (Some(words), 2..) => format!("{words}, upsample = {}, times = {})", plan.upsample, plan.times),
        _ => origin,
    }
}

fn replayed(origin: String, plan: &SourcePlan) -> String {
    if plan.replay > 0 { format!("replay({origin})") } else { origin }
}

impl Summary {
    fn notes(&self, length: usize, epochs: f64) -> Vec<String> {
        let Some(tokens) = self.tokens else { return Vec::new() };
        let (origin, mut notes) = (&self.origin, Vec::new());
        if let Some(share) = self.selected {
            notes.push(format!("select keeps {:.1}% of the tokens of {origin}", 100.0 * share));
        }
        if tokens < length as u64 {
            notes.push(format!(
                "{origin} holds {tokens} tokens, fewer than one sequence of {length}; each sequence repeats it"
            ));
        } else if epochs > 1.0 {
            notes.push(format!("{origin} holds {tokens} tokens and will be read {epochs:.1} times"));
        }
        if let Some(longest) = self.longest.filter(|&longest| longest < length as u64) {
            notes.push(format!(
                "the longest document of {origin} has {longest} tokens; in sequences of {length} nothing of it is seen at a longer distance"
            ));
        }
        notes
    }
}

#[cfg(test)]
mod tests;
