//! The report of a rehearsal: what the recipe does to a toy model, before and after.

use std::path::{Path, PathBuf};

use recipe_core::Plan;
use serde::Serialize;

use super::Error;
use super::evaluation::{passkey_table, position_plot};
use super::layers::layer_map;
use super::number::{duration, fixed, percent, scientific, significant, tokens};
use super::page::{Block, Page};
use super::plan::wrapped;
use super::plot::Series;
use super::run::{passkey_picture, training};
use super::table::{Align, Table};
use crate::eval::PasskeyScore;
use crate::train::StepMetrics;

/// One state of the model at one length.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RehearsalRow {
    /// `base`, `rope` (its law alone) or `recipe` (after training).
    pub state: &'static str,
    /// Tokens in the document.
    pub context: usize,
    /// Mean nll within the native window, in nats.
    pub in_window_nll: f64,
    /// Mean nll of the last quarter of positions, in nats.
    pub last_quarter_nll: f64,
    /// Keys recalled, from 0 to 1.
    pub passkey: f64,
}

/// What a rehearsal's report is made of; what is empty is left out.
#[derive(Clone, Copy, Debug)]
pub struct RehearsalReport<'a> {
    /// The toy plan that was rehearsed.
    pub plan: &'a Plan,
    /// Of weights, data and keys.
    pub seed: u64,
    /// How long it took.
    pub seconds: f64,
    /// Before and after.
    pub rows: &'a [RehearsalRow],
    /// Loss by position at the longest length, a line per state.
    pub curves: &'a [Series],
    /// Every optimiser step.
    pub metrics: &'a [StepMetrics],
    /// Recall of the trained toy by depth.
    pub passkey: &'a [PasskeyScore],
    /// How it was measured, a line each.
    pub protocol: &'a [String],
    /// What was written: a word and a path each.
    pub files: &'a [(String, PathBuf)],
}

/// A name and the text of its value.
type Measure = (&'static str, fn(&RehearsalRow) -> String);

const MEASURES: [Measure; 3] = [
    ("in-window nll", |row| fixed(row.in_window_nll, 3)),
    ("last-quarter nll", |row| fixed(row.last_quarter_nll, 3)),
    ("passkey", |row| percent(row.passkey)),
];

/// A row per length; in three groups of columns, the states side by side.
pub fn rehearsal_table(native: usize, rows: &[RehearsalRow]) -> Table {
    let states = states(rows);
    let head = [("context", Align::Right), ("", Align::Right)];
    let names = MEASURES.iter().flat_map(|_| states.iter().map(|state| (words(state), Align::Right)));
    let table = Table::new(head.into_iter().chain(names)).group("", head.len());
    let mut table = MEASURES.iter().fold(table, |table, (name, _)| table.group(name, states.len()));
    for context in contexts(rows) {
        let scale = format!("{}×", scientific(context as f64 / native.max(1) as f64));
        let cell =
            |state: &str, text: fn(&RehearsalRow) -> String| find(rows, state, context).map_or("–".to_owned(), text);
        let cells = MEASURES.iter().flat_map(|(_, text)| states.iter().map(move |state| cell(state, *text)));
        table.row([tokens(context), scale].into_iter().chain(cells));
    }
    table
}

/// What the recipe is for, a sentence per state: the loss at the far end of the longest length, against that of the base
/// where it is at home.
pub fn rehearsal_findings(native: usize, rows: &[RehearsalRow]) -> Vec<String> {
    let Some(longest) = contexts(rows).into_iter().max() else {
        return vec![];
    };
    let own = find(rows, "base", native).map_or(f64::NAN, |row| row.in_window_nll);
    let finding = |state: &&str| {
        let row = find(rows, state, longest)?;
        let more = row.last_quarter_nll - own;
        let sign = if more >= 0.0 { "+" } else { "" };
        Some(format!(
            "{}, last quarter of {}: {sign}{} nats over the base's own window, perplexity × {}",
            words(state),
            tokens(longest),
            fixed(more, 2),
            significant(more.exp(), 3),
        ))
    };
    states(rows).iter().filter_map(finding).collect()
}

impl RehearsalReport<'_> {
    /// For a terminal: the table, what it says, and where the files are.
    pub fn to_text(&self) -> String {
        let native = self.plan.model.context;
        let findings: String = rehearsal_findings(native, self.rows).iter().map(|line| wrapped(line)).collect();
        let files = self.files.iter().map(|(what, path)| format!("{what}: {}\n", path.display()));
        let parts = [
            format!("{}\n", self.title()),
            rehearsal_table(native, self.rows).to_text(),
            findings,
            self.protocol.iter().map(|line| wrapped(line)).collect(),
            files.collect(),
        ];
        let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        parts.join("\n")
    }

    /// Writes `report.html`, `report.md` and their pictures into `dir`; gives the HTML page's path.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write(&self, dir: &Path) -> Result<PathBuf, Error> {
        let native = self.plan.model.context;
        let mut page = Page::new(&self.title());
        let findings = Block::lines(&rehearsal_findings(native, self.rows));
        page.section("Before and after", [Block::Table(rehearsal_table(native, self.rows)), findings]);
        if !self.curves.is_empty() {
            let title = format!("{}: loss by position", self.plan.name);
            let svg = position_plot(title, native, self.curves).to_svg();
            page.add(Block::picture("loss_by_position.svg", "Loss by position in the document", svg));
        }
        if !self.passkey.is_empty() {
            let blocks = [Block::Table(passkey_table(self.passkey)), passkey_picture(self.passkey, "")];
            page.section("Recall after the recipe", blocks);
        }
        page.section("What was rehearsed", [Block::plan(self.plan), Block::notes(&self.plan.notes)]);
        page.add(Block::picture("layers.svg", "What each layer sees", layer_map(self.plan).to_svg()));
        training(&mut page, self.plan, self.metrics);
        page.section("Protocol", [Block::lines(self.protocol)]);
        page.section("Files", [Block::files(self.files)]);
        page.write(dir)
    }

    fn title(&self) -> String {
        let Self { plan, seed, seconds, .. } = self;
        format!("Rehearsal of {}, seed {seed}, {}", plan.name, duration(*seconds))
    }
}

/// A state's name in a table.
fn words(state: &str) -> &str {
    match state {
        "rope" => "rope only",
        state => state,
    }
}

/// States in the order of their first row.
fn states(rows: &[RehearsalRow]) -> Vec<&'static str> {
    let mut states = vec![];
    for row in rows {
        if !states.contains(&row.state) {
            states.push(row.state);
        }
    }
    states
}

fn contexts(rows: &[RehearsalRow]) -> Vec<usize> {
    let mut contexts: Vec<usize> = rows.iter().map(|row| row.context).collect();
    contexts.sort_unstable();
    contexts.dedup();
    contexts
}

fn find<'a>(rows: &'a [RehearsalRow], state: &str, context: usize) -> Option<&'a RehearsalRow> {
    rows.iter().find(|row| row.state == state && row.context == context)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples::{curves, llama2_128k, metrics, passkeys, rehearsal_rows};

    #[test]
    fn states_stand_side_by_side() {
        let text = rehearsal_table(256, &rehearsal_rows()).to_text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "                in-window nll               last-quarter nll            passkey");
        assert_eq!(
            lines[1],
            "context          base  rope only  recipe     base  rope only  recipe    base  rope only  recipe"
        );
        assert_eq!(
            lines[3],
            "    256   1×    1.630      1.910   1.660    1.630      1.910   1.660     98%        71%    100%"
        );
        assert_eq!(
            lines[7],
            "     8K  32×    1.630      1.910   1.660    5.670      2.510   1.670      2%        30%     93%"
        );
        assert_eq!(lines.len(), 8);
    }

    #[test]
    fn findings_compare_with_the_base_at_home() {
        assert_eq!(
            rehearsal_findings(256, &rehearsal_rows()),
            [
                "base, last quarter of 8K: +4.04 nats over the base's own window, perplexity × 56.8",
                "rope only, last quarter of 8K: +0.88 nats over the base's own window, perplexity × 2.41",
                "recipe, last quarter of 8K: +0.04 nats over the base's own window, perplexity × 1.04",
            ]
        );
    }

    #[test]
    fn missing_rows_are_shown_as_missing() {
        let mut rows = rehearsal_rows();
        rows.retain(|row| row.state != "rope" || row.context > 256);
        rows[0].in_window_nll = f64::NAN;
        let text = rehearsal_table(256, &rows).to_text();
        assert!(text.lines().nth(3).unwrap().contains('–'), "{text}");
        assert!(rehearsal_findings(256, &rows)[0].contains('–'));
        assert!(rehearsal_findings(256, &[]).is_empty());
        assert_eq!(rehearsal_table(256, &[]).to_text().lines().count(), 3);
    }

    #[test]
    fn a_report_holds_every_picture_that_it_shows() {
        let plan = llama2_128k().rehearsal();
        let dir = tempfile::tempdir().unwrap();
        let report = RehearsalReport {
            plan: &plan,
            seed: 3,
            seconds: 212.0,
            rows: &rehearsal_rows(),
            curves: &curves(),
            metrics: &metrics(&plan),
            passkey: &passkeys(),
            protocol: &["read once".to_owned()],
            files: &[("exported model".to_owned(), PathBuf::from("runs/a/model"))],
        };
        let path = report.write(&dir.path().join("new/folder")).unwrap();
        let page = std::fs::read_to_string(path.with_file_name("report.md")).unwrap();
        let shown: Vec<&str> = page.split("](").skip(1).filter_map(|tail| tail.split(')').next()).collect();
        let course = ["training.svg", "grad_norm.svg", "learning_rate.svg", "speed.svg"];
        assert_eq!(shown, [&["loss_by_position.svg", "passkey.svg", "layers.svg"], &course[..]].concat());
        assert!(shown.iter().all(|name| path.with_file_name(name).is_file()));
        assert!(page.contains("- exported model: `runs/a/model`") && page.contains("- read once"));
        assert!(page.starts_with("# Rehearsal of Llama2_128k, seed 3, 3 min 32 s\n"));
        let text = report.to_text();
        assert!(
            text.lines().all(|line| line.chars().count() <= 100) && text.ends_with("exported model: runs/a/model\n")
        );
    }

    #[test]
    fn an_unwritable_folder_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let plan = llama2_128k().rehearsal();
        let report = RehearsalReport {
            plan: &plan,
            seed: 0,
            seconds: 0.0,
            rows: &[],
            curves: &[],
            metrics: &[],
            passkey: &[],
            protocol: &[],
            files: &[],
        };
        let error = report.write(&file.join("report")).unwrap_err().to_string();
        assert!(error.starts_with(&file.join("report").display().to_string()), "{error}");
    }
}
