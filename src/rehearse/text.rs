//! What a rehearsal reads: generated chronicles with the recipe's share of passkey exams, or a person's own text.

use std::path::Path;
use std::sync::Arc;

use recipe_core::{Learns, Plan, SelectPlan, SourceKind, SourcePlan, StagePlan};

use crate::data::chronicle::Density;
use crate::data::{Batch, Corpus, Encoder, Error};
use crate::train::Sequences;

/// Text for training.
pub struct Text {
    /// Read at the native length: dense, so that looking back is exercised while the positions are new.
    near: Corpus,
    /// Read at longer lengths.
    far: Corpus,
    native: usize,
    /// Of each list of generated sources, their corpus.
    exams: Vec<(Vec<SourcePlan>, Corpus)>,
}

impl Text {
    /// Chronicles, or the file at `own`, and exams.
    ///
    /// # Errors
    /// When that file cannot be read.
    pub fn new(encoder: &Arc<Encoder>, plan: &Plan, own: Option<&Path>, cache: &Path) -> Result<Self, Error> {
        let whole = |kind| [SourcePlan::new(kind, 1.0)];
        // All stages that change weights select alike; what is generated is read whole.
        let selects = plan.stages.iter().rev().find(|stage| stage.learns == Learns::Weights);
        let select = selects.map_or(&SelectPlan::All, |stage| &stage.select);
        let open = |sources: &[SourcePlan]| Corpus::open(sources, select, Arc::clone(encoder), cache, &mut |_| {});
        let prose = |density| match own {
            Some(path) => open(&whole(SourceKind::Text { glob: path.display().to_string().into() })),
            None => Ok(Corpus::chronicle(Arc::clone(encoder), density)),
        };
        let (near, far) = (prose(Density::Dense)?, prose(Density::Distant)?);
        let mut exams: Vec<(Vec<SourcePlan>, Corpus)> = vec![];
        for data in plan.stages.iter().map(|stage| &stage.data).chain([&plan.data]) {
            let sources = generated(data);
            if !sources.is_empty() && !exams.iter().any(|(known, _)| *known == sources) {
                let corpus = open(&sources)?;
                exams.push((sources, corpus));
            }
        }
        Ok(Self { near, far, native: plan.model.context, exams })
    }
}

impl Sequences for Text {
    fn sequence(&self, stage: &StagePlan, index: u64) -> Result<Batch, Error> {
        self.piece(&stage.data, stage.seed, index, stage.length)
    }

    fn ends_sentence(&self, token: u32) -> bool {
        self.near.encoder().ends_sentence(token)
    }
}

impl Text {
    /// Exams are spread evenly: after any number of sequences their count is the nearest to the share that `data` says.
    pub(super) fn piece(&self, data: &[SourcePlan], seed: u64, index: u64, length: usize) -> Result<Batch, Error> {
        let sources = generated(data);
        let share: f64 = sources.iter().map(|source| source.share).sum();
        let corpus = self.exams.iter().find(|(known, _)| *known == sources).map(|(_, corpus)| corpus);
        let exams = |sequences: u64| (sequences as f64 * share).round() as u64;
        let (before, after) = (exams(index), exams(index + 1));
        match corpus.filter(|_| after > before) {
            Some(exams) => exams.sequence(seed, before, length),
            None if length <= self.native => self.near.sequence(seed, index - before, length),
            None => self.far.sequence(seed, index - before, length),
        }
    }
}

fn generated(data: &[SourcePlan]) -> Vec<SourcePlan> {
    data.iter().filter(|source| source.kind.is_generated()).cloned().collect()
}
