//! What a run would read, for people: what sources hold, how stages cut it, and sequences as they are trained on.

use std::ops::Range;

use super::number::{count, percent_tenths, significant, tokens};
use super::table::{Align, Table};
use crate::data::{Batch, Held, Inventory, Use};

/// Runs and documents of a sample that are written out.
const SHOWN: usize = 6;

/// Letters of a source's words where they stand beside many numbers.
const WORDS: usize = 40;

/// Of these, how many stand for the source's own word: `parquet("`.
const WORD: usize = 9;

/// From empty to full.
const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// What sources hold: a row for each.
pub fn inventory_table(sources: &[Inventory]) -> Table {
    let right = ["files", "documents", "empty", "tokens", "characters/token"].map(|name| (name, Align::Right));
    let mut table = Table::new([("source", Align::Left)].into_iter().chain(right));
    for source in sources {
        match &source.held {
            Some(held) => table.row([
                source.origin.clone(),
                held.files.to_string(),
                held.lengths.len().to_string(),
                held.empty.to_string(),
                count(held.tokens as f64),
                significant(held.characters_per_token(), 3),
            ]),
            None => table.row([source.origin.as_str(), "generated"]),
        }
    }
    table
}

/// How long documents are: percentiles in tokens, and where documents and tokens lie between powers of two.
pub fn lengths_table(sources: &[Inventory]) -> Table {
    let right = ["shortest", "10%", "50%", "90%", "99%", "longest"].map(|name| (name, Align::Right));
    let left = ["documents by length", "tokens by length"].map(|name| (name, Align::Left));
    let mut table = Table::new([("source", Align::Left)].into_iter().chain(right).chain(left));
    for source in sources {
        let Some(held) = &source.held else { continue };
        let mut row = vec![short(&source.origin)];
        row.extend([0.0, 0.1, 0.5, 0.9, 0.99, 1.0].map(|share| held.percentile(share).to_string()));
        row.extend(histograms(held));
        table.row(row);
    }
    table
}

/// A source's words up to the name of its files, and of a long one the end: that is where names differ.
fn short(words: &str) -> String {
    let words = words.split_once("\", ").map_or_else(|| words.to_owned(), |(named, _)| format!("{named}\", …)"));
    let letters: Vec<char> = words.chars().collect();
    if letters.len() <= WORDS {
        return words;
    }
    let (begin, end) = (&letters[..WORD], &letters[letters.len() - (WORDS - WORD - 1)..]);
    begin.iter().chain(&['…']).chain(end).collect()
}

/// `256 ▁▃█▂ 4K`, of documents and of tokens.
fn histograms(held: &Held) -> [String; 2] {
    let (first, columns) = held.histogram();
    [0, 1].map(|which| {
        let most = columns.iter().map(|column| column[which]).max().unwrap_or(0).max(1);
        let bar = |value: u64| BARS[(value * 8).div_ceil(most) as usize];
        let bars: String = columns.iter().map(|column| bar(column[which])).collect();
        format!("{} {bars} {}", tokens(1 << first), tokens(1 << (first + columns.len() as u32)))
    })
}

/// What a stage of sequences of `length` tokens reads of each source.
pub fn uses_table(sources: &[Inventory], uses: &[Use], length: usize) -> Table {
    let names = ["asked", "drawn", "sequences", "epochs", "documents", "longer", "cut"];
    let mut table = Table::new([("source", Align::Left)].into_iter().chain(names.map(|name| (name, Align::Right))))
        .group("", 1)
        .group("share", 2)
        .group("read", 2)
        .group(&format!("in a sequence of {}", tokens(length)), 1)
        .group("documents of an epoch", 2);
    for (source, using) in sources.iter().zip(uses) {
        let mut row = vec![short(&source.origin), percent_tenths(source.share), percent_tenths(using.drawn)];
        row.push(using.sequences.to_string());
        match &source.held {
            Some(_) => row.extend([
                significant(using.epochs, 2),
                significant(using.documents, 2),
                using.longer.to_string(),
                format!("≈ {:.0}", using.cut),
            ]),
            None => row.extend(["–", "1", "0", "0"].map(str::to_owned)),
        }
        table.row(row);
    }
    table
}

/// A sequence as it is trained on.
pub struct Sample<'a> {
    /// Which it is, and where it is from.
    pub title: &'a str,
    /// The sequence.
    pub batch: &'a Batch,
    /// Its first and last text, special tokens included.
    pub text: [&'a str; 2],
}

/// A sample in lines.
pub fn sample_text(sample: &Sample<'_>) -> String {
    let batch = sample.batch;
    let mut table = Table::new([("", Align::Left), ("", Align::Left)]);
    table.row(["  tokens".to_owned(), format!("{}, {} of them learned", batch.len(), batch.counted())]);
    table.row(["  positions".to_owned(), shortened(runs(&batch.positions), "runs")]);
    let documents = documents(batch);
    let rows = documents.iter().map(|rows| (rows.start as u32, rows.end.saturating_sub(1) as u32)).collect();
    table.row(["  documents".to_owned(), format!("{}: rows {}", documents.len(), shortened(rows, "documents"))]);
    if let Some(scale) = batch.stretch {
        table.row(["  scale".to_owned(), format!("the model's own rope, divided by {scale}")]);
    }
    table.row(["  begins".to_owned(), format!("{:?}", sample.text[0])]);
    table.row(["  ends".to_owned(), format!("{:?}", sample.text[1])]);
    format!("{}\n{}", sample.title, table.to_text())
}

/// Positions that go on by one, as first and last.
pub fn runs(positions: &[u32]) -> Vec<(u32, u32)> {
    let runs = positions.chunk_by(|before, after| before.checked_add(1) == Some(*after));
    runs.filter_map(|run| Some((*run.first()?, *run.last()?))).collect()
}

/// The rows of each document.
pub fn documents(batch: &Batch) -> Vec<Range<usize>> {
    let mut end = 0;
    let rows = batch.documents.chunk_by(|before, after| before == after);
    rows.map(|rows| {
        end += rows.len();
        end - rows.len()..end
    })
    .collect()
}

/// `0–511, 512–4095 and 3 more runs`.
fn shortened(runs: Vec<(u32, u32)>, what: &str) -> String {
    // One that is left out would take no less room than saying so.
    let shown = if runs.len() == SHOWN + 1 { runs.len() } else { SHOWN };
    let words: Vec<String> = runs.iter().take(shown).map(|(first, last)| format!("{first}–{last}")).collect();
    match runs.len().saturating_sub(shown) {
        0 => words.join(", "),
        more => format!("{} and {more} more {what}", words.join(", ")),
    }
}

#[cfg(test)]
mod tests;
