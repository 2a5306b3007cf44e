//! Exams on generated text, abilities kept and multiple choice: a heading, a table and a line of protocol each.

use super::evaluation::{Cell, grid, grid_table, passkey_table, perplexity_table, protocol};
use super::number::{fixed, percent, tokens};
use super::plot::HeatGrid;
use super::table::{Align, Table};
use crate::eval::{Choice, Evaluation, KMax, KMaxTest, Marks, NeedleScore, Short, TopicsScore};

/// Part of an evaluation as a person reads it.
pub(super) struct Section {
    pub(super) heading: String,
    pub(super) table: Table,
    pub(super) protocol: String,
}

/// The heading of what `short` found.
pub(super) const ABILITIES: &str = "Abilities kept";

/// What `eval` prints: a table for everything that was measured.
pub fn evaluation_text(found: &Evaluation) -> String {
    let mut text = String::new();
    if !found.perplexity.is_empty() {
        text += &format!("{}\n", perplexity_table(&found.perplexity).to_text());
    }
    if !found.passkey.is_empty() {
        text += &format!("{}\n", passkey_table(&found.passkey).to_text());
    }
    for Section { heading, table, protocol } in sections(found) {
        text += &format!("{heading}\n{}{protocol}\n\n", table.to_text());
    }
    text
}

/// Everything but loss and passkey, which have pictures of their own.
pub(super) fn sections(found: &Evaluation) -> Vec<Section> {
    let mut sections = vec![];
    let mut add = |heading: &str, table, protocol| {
        sections.push(Section { heading: heading.to_owned(), table, protocol });
    };
    if let Some(first) = found.k_max.first() {
        add("Effective window", k_max_table(&found.k_max), k_max_protocol(first));
    }
    for rows in kinds(&found.needle) {
        let heading = format!("Needle, {}", rows[0].needle);
        add(&heading, needle_table(&rows), needle_protocol(&rows));
    }
    if let Some(first) = found.topics.first() {
        let words = format!(
            "{} documents at each length, each asks for its first topic; {}",
            first.protocol.documents, first.protocol.counted
        );
        add("Topics", topics_table(&found.topics), words);
    }
    if let Some(first) = found.short.first() {
        let words = format!(
            "text in pieces of the native window ({}), the same for both models; nats per token",
            protocol(&first.protocol)
        );
        add(ABILITIES, short_table(&found.short), words);
    }
    if let Some(first) = found.choice.first() {
        add("Multiple choice", choice_table(&found.choice), first.protocol.to_string());
    }
    sections
}

/// A row per length: the effective window, and where it ends.
pub fn k_max_table(found: &[KMax]) -> Table {
    let names = ["context", "k_max", "of the context", "first missed", "recalled there", "documents"];
    let mut table = Table::new(names.map(|name| (name, Align::Right)));
    for row in found {
        let missed = row.distances.iter().find(|distance| !distance.passed);
        table.row([
            tokens(row.context),
            row.k_max.to_string(),
            percent(row.k_max as f64 / row.context as f64),
            missed.map_or("none".to_owned(), |distance| distance.k.to_string()),
            missed.map_or(String::new(), |distance| format!("{} of {}", distance.marks.correct, distance.marks.trials)),
            row.protocol.documents.to_string(),
        ]);
    }
    table
}

fn k_max_protocol(first: &KMax) -> String {
    let KMaxTest { distances, trials, success } = first.tested;
    format!(
        "{distances} distances up to the length, one key in a document; k_max: {} of {trials} keys recalled there and at every \
         nearer distance; each distance is read until that is certain, and none behind the first missed; {}",
        percent(success),
        first.protocol.counted
    )
}

/// The rows of each kind of needle, in the order in which kinds come.
pub(super) fn kinds(rows: &[NeedleScore]) -> Vec<Vec<&NeedleScore>> {
    let mut found: Vec<Vec<&NeedleScore>> = vec![];
    for row in rows {
        match found.iter_mut().find(|kind| kind[0].needle == row.needle) {
            Some(kind) => kind.push(row),
            None => found.push(vec![row]),
        }
    }
    found
}

fn cells(rows: &[&NeedleScore]) -> Vec<Cell> {
    let cell = |row: &&NeedleScore| Cell {
        context: row.context,
        depth: row.depth,
        correct: row.marks.tokens_correct,
        trials: row.marks.tokens,
    };
    rows.iter().map(cell).collect()
}

/// Answer tokens of one kind of needle: a row per depth, a column per length; then whole answers, of which a model that was
/// given an answer's first tokens often knows the rest.
pub fn needle_table(rows: &[&NeedleScore]) -> Table {
    let mut table = grid_table(&cells(rows));
    let mut contexts: Vec<usize> = rows.iter().map(|row| row.context).collect();
    contexts.sort_unstable();
    contexts.dedup();
    let whole = contexts.iter().map(|&context| percent(sum(rows.iter().filter(|row| row.context == context)).share()));
    table.row(["whole".to_owned()].into_iter().chain(whole));
    table
}

fn sum<'a>(rows: impl Iterator<Item = &'a &'a NeedleScore>) -> Marks {
    let mut all = Marks::default();
    rows.for_each(|row| all += row.marks);
    all
}

/// The same as a picture.
pub(super) fn needle_grid(rows: &[&NeedleScore], when: &str) -> HeatGrid {
    let title = format!("Needle, {}{when}", rows.first().map_or("", |row| &row.needle));
    grid(title, "answer tokens, by depth of the needle (0% is the start)", &cells(rows))
}

fn needle_protocol(rows: &[&NeedleScore]) -> String {
    let all = sum(rows.iter());
    let read = &rows[0].protocol;
    format!(
        "share of answer tokens; {} of {} answers whole; {} documents at each length and depth, {} hidden, {} asked for; {}",
        all.correct, all.trials, read.documents, read.hidden, read.asked, read.counted
    )
}

/// A row per length.
pub fn topics_table(found: &[TopicsScore]) -> Table {
    let mut table =
        Table::new(["context", "topics", "first named", "answer tokens", "documents"].map(|name| (name, Align::Right)));
    for row in found {
        table.row([
            tokens(row.context),
            row.topics.to_string(),
            percent(row.marks.share()),
            percent(row.marks.token_share()),
            row.protocol.documents.to_string(),
        ]);
    }
    table
}

/// A row per limit.
pub fn short_table(found: &[Short]) -> Table {
    let numbers = ["context", "tokens", "nll", "untouched", "difference", "at most"].map(|name| (name, Align::Right));
    let mut table = Table::new(numbers.into_iter().chain([("", Align::Left)]));
    for row in found {
        table.row([
            tokens(row.context),
            row.tokens.to_string(),
            fixed(row.nll, 4),
            fixed(row.base_nll, 4),
            fixed(row.loss, 4),
            fixed(row.max_loss, 4),
            if row.kept { "kept" } else { "lost" }.to_owned(),
        ]);
    }
    table
}

/// A row per file.
pub fn choice_table(found: &[Choice]) -> Table {
    let numbers = ["questions", "right", "accuracy", "chance"].map(|name| (name, Align::Right));
    let mut table = Table::new([("file", Align::Left)].into_iter().chain(numbers));
    for row in found {
        table.row([
            row.path.display().to_string(),
            row.questions.to_string(),
            row.correct.to_string(),
            percent(row.accuracy),
            percent(row.chance),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples::exams;

    /// The cells of a row of a table, by the words that it begins with.
    fn row(text: &str, first: &str) -> Vec<String> {
        let line = text.lines().find(|line| line.trim_start().starts_with(first));
        line.unwrap_or_else(|| panic!("{first}: {text}")).split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn the_window_ends_where_the_first_distance_was_missed() {
        let text = k_max_table(&exams().k_max).to_text();
        assert_eq!(row(&text, "1K"), ["1K", "512", "50%", "768", "1", "of", "10", "20"]);
    }

    #[test]
    fn each_kind_of_needle_has_a_table_of_answer_tokens() {
        let found = sections(&exams());
        let headings: Vec<&str> = found.iter().map(|section| section.heading.as_str()).collect();
        let expected =
            ["Effective window", "Needle, multikey", "Needle, single", "Topics", "Abilities kept", "Multiple choice"];
        assert_eq!(headings, expected);
        let text = found[1].table.to_text();
        assert_eq!(
            [row(&text, "0%"), row(&text, "100%"), row(&text, "all"), row(&text, "whole")].concat(),
            ["0%", "25%", "100%", "75%", "all", "50%", "whole", "50%"]
        );
        assert!(found[1].protocol.contains("10 of 20 answers whole; 20 documents"), "{}", found[1].protocol);
    }

    #[test]
    fn what_was_measured_is_printed_and_nothing_else() {
        assert_eq!(evaluation_text(&Evaluation::default()), "");
        let text = evaluation_text(&exams());
        assert_eq!(row(&topics_table(&exams().topics).to_text(), "1K"), ["1K", "5", "70%", "75%", "20"]);
        assert!(row(&text, "256").ends_with(&["0.0500".into(), "0.0200".into(), "lost".into()]), "{text}");
        assert_eq!(row(&text, "q.jsonl"), ["q.jsonl", "4", "3", "75%", "25%"]);
    }
}
