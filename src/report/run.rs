//! The report of a training run.

use std::path::{Path, PathBuf};

use kernels::simd::Isa;
use recipe_core::Plan;

use super::Error;
use super::evaluation::{
    before_after_curves, before_after_table, curves, passkey_grid, passkey_table, perplexity_table, position_plot,
};
use super::exams::{ABILITIES, Section, kinds, needle_grid, sections};
use super::layers::layer_map;
use super::number::bytes;
use super::page::{Block, Page};
use super::plan::plan_text;
use super::table::{Align, Table};
use super::training::{course_plots, training_plot, training_table};
use crate::eval::{Evaluation, PasskeyScore};
use crate::train::StepMetrics;

/// What a run's report is made of; what is empty is left out.
#[derive(Clone, Copy, Debug)]
pub struct RunReport<'a> {
    /// What was done.
    pub plan: &'a Plan,
    /// Every optimiser step.
    pub metrics: &'a [StepMetrics],
    /// What was measured of the model as it was given.
    pub before: &'a Evaluation,
    /// What was measured of the model as it was trained.
    pub evaluation: &'a Evaluation,
    /// How it was measured, a line each.
    pub protocol: &'a [String],
    /// What was written: a word and a path each.
    pub files: &'a [(String, PathBuf)],
}

impl RunReport<'_> {
    /// Writes `report.html`, `report.md` and their pictures into `dir`; gives the HTML page's path.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write(&self, dir: &Path) -> Result<PathBuf, Error> {
        let mut page = Page::new(&self.plan.name);
        let all = Block::Folded { word: "All of it".to_owned(), text: plan_text(self.plan) };
        page.section("Plan", [Block::plan(self.plan), all]);
        page.add(Block::picture("layers.svg", "What each layer sees", layer_map(self.plan).to_svg()));
        page.section("Notes", [Block::notes(&self.plan.notes)]);
        training(&mut page, self.plan, self.metrics);
        self.memory(&mut page);
        self.perplexity(&mut page);
        self.passkey(&mut page);
        self.exams(&mut page);
        page.section("Protocol", [Block::lines(self.protocol)]);
        page.section("Files", [Block::files(self.files)]);
        page.section("Made with", [Block::lines(&made_with())]);
        page.write(dir)
    }

    /// What the plan predicted, term by term, and what the run counted.
    fn memory(&self, page: &mut Page) {
        let Some(last) = self.metrics.last() else { return };
        let planned = self.plan.memory();
        let mut table = Table::new([("", Align::Left), ("planned", Align::Right)]);
        planned.terms.iter().for_each(|term| table.row([term.name.to_string(), bytes(term.bytes)]));
        table.row(["total".to_owned(), bytes(planned.total)]);
        table.row(["counted by the run".to_owned(), bytes(last.peak_memory_bytes)]);
        page.section("Memory", [Block::Table(table)]);
    }

    fn perplexity(&self, page: &mut Page) {
        let (before, found) = (&self.before.perplexity, &self.evaluation.perplexity);
        if before.is_empty() && found.is_empty() {
            return;
        }
        let table = if before.is_empty() { perplexity_table(found) } else { before_after_table(before, found) };
        page.section("Perplexity", [Block::Table(table)]);
        let curves = if before.is_empty() { curves(found) } else { before_after_curves(before, found) };
        if !curves.is_empty() {
            let plot = position_plot("Loss by position", self.plan.model.context, &curves);
            page.add(Block::picture("loss_by_position.svg", "Loss by position in the document", plot.to_svg()));
        }
    }

    fn passkey(&self, page: &mut Page) {
        let (before, found) = (&self.before.passkey, &self.evaluation.passkey);
        if !before.is_empty() {
            page.section("Passkey, before", [Block::Table(passkey_table(before)), passkey_picture(before, ", before")]);
        }
        if !found.is_empty() {
            let after = if before.is_empty() { "" } else { ", after" };
            let heading = if before.is_empty() { "Passkey" } else { "Passkey, after" };
            page.section(heading, [Block::Table(passkey_table(found)), passkey_picture(found, after)]);
        }
    }

    fn exams(&self, page: &mut Page) {
        let both = *self.before != Evaluation::default();
        for (found, when) in [(self.before, "before"), (self.evaluation, "after")] {
            for Section { heading, table, protocol } in sections(found) {
                // What is a comparison already needs no word.
                let heading = if both && heading != ABILITIES { format!("{heading}, {when}") } else { heading };
                page.section(&heading, [Block::Table(table), Block::Text(protocol)]);
            }
            for rows in kinds(&found.needle) {
                let (title, name) = match when {
                    "before" => (", before", format!("needle_{}_before.svg", rows[0].needle)),
                    _ => (if both { ", after" } else { "" }, format!("needle_{}.svg", rows[0].needle)),
                };
                page.add(Block::picture(
                    &name,
                    "Answer tokens by depth and length",
                    needle_grid(&rows, title).to_svg(),
                ));
            }
        }
    }
}

/// The course of training; nothing where nothing was trained.
pub(super) fn training(page: &mut Page, plan: &Plan, metrics: &[StepMetrics]) {
    if metrics.is_empty() {
        return;
    }
    let loss = Block::picture("training.svg", "Training loss by step", training_plot(plan, metrics).to_svg());
    page.section("Training", [Block::Table(training_table(plan, metrics)), loss]);
    for (name, alternative, plot) in course_plots(plan, metrics) {
        page.add(Block::picture(name, alternative, plot.to_svg()));
    }
}

/// Recall by depth and length.
pub(super) fn passkey_picture(found: &[PasskeyScore], when: &str) -> Block {
    let name = if when == ", before" { "passkey_before.svg" } else { "passkey.svg" };
    let title = format!("Passkey recall{when}");
    Block::picture(name, "Recall by depth and length", passkey_grid(title, found).to_svg())
}

/// What a reader needs to know about the machine to compare figures.
fn made_with() -> Vec<String> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    vec![
        format!("context-recipe {}", env!("CARGO_PKG_VERSION")),
        format!("{} on {}, {threads} threads", std::env::consts::OS, std::env::consts::ARCH),
        format!("kernels for {}", Isa::best().name()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::{Perplexity, Protocol};
    use crate::report::samples::{llama2_128k, metrics, passkeys};

    fn report<'a>(plan: &'a Plan, before: &'a Evaluation, evaluation: &'a Evaluation) -> RunReport<'a> {
        RunReport { plan, metrics: &[], before, evaluation, protocol: &[], files: &[] }
    }

    #[test]
    fn what_is_empty_is_left_out() {
        let (plan, dir) = (llama2_128k(), tempfile::tempdir().unwrap());
        report(&plan, &Evaluation::default(), &Evaluation::default()).write(dir.path()).unwrap();
        let page = std::fs::read_to_string(dir.path().join("report.md")).unwrap();
        let headings: Vec<&str> = page.lines().filter(|line| line.starts_with("## ")).collect();
        assert_eq!(headings, ["## Plan", "## Notes", "## Made with"]);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3);
        assert!(page.contains("- `adapter_needs_merge`: the embedding"));
    }

    #[test]
    fn a_whole_run_is_reported() {
        let (plan, dir) = (llama2_128k(), tempfile::tempdir().unwrap());
        let row = |context: usize| Perplexity {
            context,
            tokens: context,
            mean_nll: 2.0,
            perplexity: 2f64.exp(),
            bucket: 1024,
            nll: [2.5, 1.5, 2.0, 1.0].map(Some).to_vec(),
            protocol: Protocol::Pieces { documents: 4 },
        };
        let evaluation = Evaluation {
            perplexity: vec![row(4096), row(131_072)],
            passkey: passkeys(),
            ..crate::report::samples::exams()
        };
        let before = Evaluation::default();
        let report = RunReport { metrics: &metrics(&plan), ..report(&plan, &before, &evaluation) };
        let html = std::fs::read_to_string(report.write(dir.path()).unwrap()).unwrap();
        let page = std::fs::read_to_string(dir.path().join("report.md")).unwrap();
        assert!(page.contains("| 128K | 131072 | 2.000 | 7.39 | 1.000 | 2.72 | 4 pieces |"), "{page}");
        assert!(page.contains("| 1 | 128K | 1000 | 3.000 |"), "{page}");
        assert!(page.contains("| 0% | 100% | 90% | 75% | 65% | 50% |"), "{page}");
        let pictures = ["layers", "training", "grad_norm", "learning_rate", "speed", "loss_by_position", "passkey"];
        for picture in pictures.into_iter().chain(["needle_multikey"]) {
            let name = format!("{picture}.svg");
            assert!(page.contains(&format!("]({name})")) && dir.path().join(&name).is_file(), "{name}");
            assert!(html.contains(&std::fs::read_to_string(dir.path().join(&name)).unwrap()), "{name}");
        }
    }

    #[test]
    fn before_and_after_stand_side_by_side() {
        let (plan, dir) = (llama2_128k(), tempfile::tempdir().unwrap());
        let row = |context: usize, mean_nll: f64| Perplexity {
            context,
            tokens: context,
            mean_nll,
            perplexity: mean_nll.exp(),
            bucket: 1024,
            nll: vec![Some(mean_nll); context / 1024],
            protocol: Protocol::Generated { documents: 4 },
        };
        let before = Evaluation {
            perplexity: vec![row(4096, 2.0), row(131_072, 8.0)],
            passkey: passkeys(),
            needle: crate::report::samples::exams().needle,
            ..Evaluation::default()
        };
        let after = Evaluation { perplexity: vec![row(4096, 2.1), row(131_072, 1.9)], ..before.clone() };
        let html = std::fs::read_to_string(report(&plan, &before, &after).write(dir.path()).unwrap()).unwrap();
        let page = std::fs::read_to_string(dir.path().join("report.md")).unwrap();
        assert!(page.contains("| 128K | 8.000 | 1.900 | 2980.96 | 6.69 | 8.000 | 1.900 | 4 generated |"), "{page}");
        for picture in ["loss_by_position", "passkey_before", "passkey", "needle_single_before", "needle_single"] {
            assert!(page.contains(&format!("]({picture}.svg)")), "{picture}");
        }
        let lines = std::fs::read_to_string(dir.path().join("loss_by_position.svg")).unwrap();
        assert!(lines.contains(">before<") && lines.contains(">after<") && html.contains(&lines));
    }
}
