//! What sources hold and what of it stages read, in numbers.

use super::{Corpus, Packed, Source, Text};

/// What a source holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Inventory {
    /// As the recipe writes it.
    pub origin: String,
    /// Share of the training tokens that the recipe asks for.
    pub share: f64,
    /// Nothing for generated text, which has no end.
    pub held: Option<Held>,
}

/// What a source's files hold. Tokens count the begin and end tokens of documents.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// Files.
    pub files: usize,
    /// Documents without a token, which are left out.
    pub empty: u64,
    /// Characters of all text.
    pub characters: u64,
    /// Tokens of all text, without begin and end tokens and before anything is selected.
    pub tokens: u64,
    /// Tokens of an epoch.
    pub epoch: u64,
    /// Share of the text's tokens that is selected; nothing where all of them are.
    pub selected: Option<f64>,
    /// Tokens of each document that is read, ascending.
    pub lengths: Vec<u64>,
}

/// What a stage reads of a source.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Use {
    /// Sequences.
    pub sequences: u64,
    /// Share of the stage's sequences.
    pub drawn: f64,
    /// How often the source is read; 0 for generated text.
    pub epochs: f64,
    /// Documents that no sequence holds whole.
    pub longer: usize,
    /// Documents of an epoch that a border between sequences is expected to cut, the longer ones among them: a document of n
    /// tokens has n − 1 places, and one of every `length` places is a border.
    pub cut: f64,
    /// Documents or parts of documents in a sequence, expected.
    pub documents: f64,
}

impl Held {
    /// Characters of a token.
    pub fn characters_per_token(&self) -> f64 {
        self.characters as f64 / self.tokens.max(1) as f64
    }

    /// The length that a share of the documents does not exceed (nearest rank); `0.5` is the median.
    pub fn percentile(&self, share: f64) -> u64 {
        let rank = (share * self.lengths.len() as f64).ceil() as usize;
        self.lengths.get(rank.saturating_sub(1)).copied().unwrap_or(0)
    }

    /// From which power of two on, and for each power from there the documents of at least so many and fewer than twice as
    /// many tokens, and their tokens.
    pub fn histogram(&self) -> (u32, Vec<[u64; 2]>) {
        let power = |length: &u64| length.max(&1).ilog2();
        let first = self.lengths.first().map_or(0, power);
        let last = self.lengths.last().map_or(0, power);
        let mut columns = vec![[0; 2]; (last - first + 1) as usize];
        for length in &self.lengths {
            let column = &mut columns[(power(length) - first) as usize];
            *column = [column[0] + 1, column[1] + length];
        }
        (first, columns)
    }
}

impl Corpus {
    /// What the sources hold, in the order of the plan.
    pub fn inventory(&self) -> Vec<Inventory> {
        self.sources.iter().map(Source::inventory).collect()
    }

    /// What of each source the first `sequences` sequences of `length` tokens read.
    pub fn uses(&self, length: usize, sequences: u64) -> Vec<Use> {
        let counts = self.turns.counts(sequences);
        let epochs = self.epochs(sequences, length);
        let each = self.sources.iter().zip(counts).zip(epochs);
        each.map(|((source, count), epochs)| {
            let drawn = count as f64 / sequences.max(1) as f64;
            let whole = Use { sequences: count, drawn, epochs, longer: 0, cut: 0.0, documents: 1.0 };
            match &source.text {
                Text::Files(packed) => packed.used(length as u64, whole),
                Text::Generated(_) => whole,
            }
        })
        .collect()
    }

    /// Which source, counted from 0, sequence `index` comes from.
    pub fn source_of(&self, index: u64) -> usize {
        self.turns.turn(index).0
    }
}

impl Source {
    fn inventory(&self) -> Inventory {
        let held = match &self.text {
            Text::Files(packed) => Some(packed.held()),
            Text::Generated(_) => None,
        };
        Inventory { origin: self.origin.clone(), share: self.share, held }
    }
}

impl Packed {
    fn held(&self) -> Held {
        let mut lengths: Vec<u64> = self.store.documents().map(|document| self.length(document)).collect();
        lengths.sort_unstable();
        let whole = self.store.whole();
        Held {
            files: whole.files(),
            empty: whole.empty(),
            characters: whole.characters(),
            tokens: whole.tokens,
            epoch: self.tokens,
            selected: self.store.share(),
            lengths,
        }
    }

    fn used(&self, length: u64, whole: Use) -> Use {
        let longest = length.min(self.piece());
        let (mut longer, mut cut, mut parts) = (0, 0.0, 0.0);
        for document in self.documents() {
            let tokens = self.length(document);
            longer += usize::from(tokens > longest);
            cut += if tokens > longest { 1.0 } else { (tokens.saturating_sub(1) as f64 / length as f64).min(1.0) };
            parts += tokens.div_ceil(self.piece()) as f64;
        }
        // One part begins a sequence, the others begin where a document or a piece does.
        let documents = 1.0 + parts * (length - 1) as f64 / self.tokens.max(1) as f64;
        Use { longer, cut, documents, ..whole }
    }
}
