//! The report of a training run.

use std::path::{Path, PathBuf};

use kernels::simd::Isa;
use recipe_core::Plan;

use super::Error;
use super::evaluation::{curve, passkey_grid, passkey_table, perplexity_table, position_plot};
use super::exams::{Section, kinds, needle_grid, sections};
use super::layers::layer_map;
use super::number::bytes;
use super::page::{Block, Page};
use super::plan::plan_text;
use super::plot::Series;
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
    /// Everything that was measured.
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
        let found = &self.evaluation.perplexity;
        if found.is_empty() {
            return;
        }
        page.section("Perplexity", [Block::Table(perplexity_table(found))]);
        let curves: Vec<Series> = found.iter().filter(|found| !found.nll.is_empty()).map(curve).collect();
        if !curves.is_empty() {
            let plot = position_plot("Loss by position", self.plan.model.context, &curves);
            page.add(Block::picture("loss_by_position.svg", "Loss by position in the document", plot.to_svg()));
        }
    }

    fn passkey(&self, page: &mut Page) {
        let found = &self.evaluation.passkey;
        if !found.is_empty() {
            page.section("Passkey", [Block::Table(passkey_table(found)), passkey_picture(found)]);
        }
    }

    fn exams(&self, page: &mut Page) {
        for Section { heading, table, protocol } in sections(self.evaluation) {
            page.section(&heading, [Block::Table(table), Block::Text(protocol)]);
        }
        for rows in kinds(&self.evaluation.needle) {
            let name = format!("needle_{}.svg", rows[0].needle);
            page.add(Block::picture(&name, "Answer tokens by depth and length", needle_grid(&rows).to_svg()));
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
pub(super) fn passkey_picture(found: &[PasskeyScore]) -> Block {
    Block::picture("passkey.svg", "Recall by depth and length", passkey_grid("Passkey recall", found).to_svg())
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

    fn report<'a>(plan: &'a Plan, evaluation: &'a Evaluation) -> RunReport<'a> {
        RunReport { plan, metrics: &[], evaluation, protocol: &[], files: &[] }
    }

    #[test]
    fn what_is_empty_is_left_out() {
        let (plan, dir) = (llama2_128k(), tempfile::tempdir().unwrap());
        report(&plan, &Evaluation::default()).write(dir.path()).unwrap();
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
        let report = RunReport { metrics: &metrics(&plan), ..report(&plan, &evaluation) };
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
}
