//! The report of a training run.

use std::path::{Path, PathBuf};

use recipe_core::Plan;

use super::Error;
use super::evaluation::{curve, passkey_grid, passkey_table, perplexity_table, position_plot};
use super::exams::{Section, kinds, needle_grid, sections};
use super::files::{Folder, file_list, list, note_list, plan_table};
use super::plan::plan_text;
use super::plot::Series;
use super::training::{training_plot, training_table};
use crate::eval::Evaluation;
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
    /// Writes `report.md` and its pictures into `dir`; gives the page's path.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write(&self, dir: &Path) -> Result<PathBuf, Error> {
        let mut folder = Folder::new(&self.plan.name);
        folder.section("Plan", &plan_table(self.plan));
        folder.paragraph(&format!(
            "<details><summary>All of it</summary>\n\n```text\n{}```\n\n</details>",
            plan_text(self.plan)
        ));
        folder.section("Notes", &note_list(&self.plan.notes));
        self.training(&mut folder);
        self.perplexity(&mut folder);
        self.passkey(&mut folder);
        self.exams(&mut folder);
        folder.section("Protocol", &list(self.protocol));
        folder.section("Files", &file_list(self.files));
        folder.write(dir)
    }

    fn training(&self, folder: &mut Folder) {
        if self.metrics.is_empty() {
            return;
        }
        folder.section("Training", &training_table(self.plan, self.metrics).to_markdown());
        folder.picture("training.svg", "Training loss by step", training_plot(self.plan, self.metrics).to_svg());
    }

    fn perplexity(&self, folder: &mut Folder) {
        if self.evaluation.perplexity.is_empty() {
            return;
        }
        folder.section("Perplexity", &perplexity_table(&self.evaluation.perplexity).to_markdown());
        let curves: Vec<Series> =
            self.evaluation.perplexity.iter().filter(|found| !found.nll.is_empty()).map(curve).collect();
        if curves.is_empty() {
            return;
        }
        let plot = position_plot("Loss by position", self.plan.model.context, &curves);
        folder.picture("loss_by_position.svg", "Loss by position in the document", plot.to_svg());
    }

    fn passkey(&self, folder: &mut Folder) {
        if self.evaluation.passkey.is_empty() {
            return;
        }
        folder.section("Passkey", &passkey_table(&self.evaluation.passkey).to_markdown());
        folder.picture(
            "passkey.svg",
            "Recall by depth and length",
            passkey_grid("Passkey recall", &self.evaluation.passkey).to_svg(),
        );
    }

    fn exams(&self, folder: &mut Folder) {
        for Section { heading, table, protocol } in sections(self.evaluation) {
            folder.section(&heading, &table.to_markdown());
            folder.paragraph(&protocol);
        }
        for rows in kinds(&self.evaluation.needle) {
            let name = format!("needle_{}.svg", rows[0].needle);
            folder.picture(&name, "Answer tokens by depth and length", needle_grid(&rows).to_svg());
        }
    }
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
        let page = std::fs::read_to_string(report(&plan, &Evaluation::default()).write(dir.path()).unwrap()).unwrap();
        let headings: Vec<&str> = page.lines().filter(|line| line.starts_with("## ")).collect();
        assert_eq!(headings, ["## Plan", "## Notes"]);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
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
        let page = std::fs::read_to_string(report.write(dir.path()).unwrap()).unwrap();
        assert!(page.contains("| 128K | 131072 | 2.000 | 7.39 | 1.000 | 2.72 | 4 pieces |"), "{page}");
        assert!(page.contains("| 1 | 128K | 1000 | 3.000 |"), "{page}");
        assert!(page.contains("| 0% | 100% | 90% | 75% | 65% | 50% |"), "{page}");
        for picture in ["training.svg", "loss_by_position.svg", "passkey.svg", "needle_multikey.svg"] {
            assert!(page.contains(&format!("]({picture})")) && dir.path().join(picture).is_file(), "{picture}");
        }
    }
}
