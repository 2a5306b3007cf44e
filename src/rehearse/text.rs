//! What a rehearsal reads: generated chronicles with the recipe's share of passkey exams, or a person's own text.

use std::path::Path;
use std::sync::Arc;

use recipe_core::{Plan, SelectPlan, SourceKind, SourcePlan, StagePlan};

use crate::data::chronicle::Density;
use crate::data::{Batch, Corpus, Encoder, Error};
use crate::train::Sequences;

/// Text for training.
pub(super) struct Text {
    /// Read at the native length: dense, so that looking back is exercised while the positions are new.
    near: Corpus,
    /// Read at longer lengths.
    far: Corpus,
    native: usize,
    exams: Corpus,
}

impl Text {
    /// Chronicles, or the file at `own`, and exams.
    pub(super) fn new(encoder: &Arc<Encoder>, plan: &Plan, own: Option<&Path>, cache: &Path) -> Result<Self, Error> {
        let whole = |kind| [SourcePlan::new(kind, 1.0)];
        // All stages of a rehearsal select alike; what is generated is read whole.
        let select = plan.stages.last().map_or(&SelectPlan::All, |stage| &stage.select);
        let open = |sources: &[SourcePlan]| Corpus::open(sources, select, Arc::clone(encoder), cache, &mut |_| {});
        let prose = |density| match own {
            Some(path) => open(&whole(SourceKind::Text { glob: path.display().to_string().into() })),
            None => Ok(Corpus::chronicle(Arc::clone(encoder), density)),
        };
        let (near, far) = (prose(Density::Dense)?, prose(Density::Distant)?);
        let stages = plan.stages.last().map_or(&plan.data, |stage| &stage.data);
        let generated: Vec<SourcePlan> = stages.iter().filter(|it| it.kind.is_generated()).cloned().collect();
        let exams = if generated.is_empty() { open(&whole(SourceKind::Passkey))? } else { open(&generated)? };
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
        let generated = data.iter().filter(|source| source.kind.is_generated());
        let share: f64 = generated.map(|source| source.share).sum();
        let exams = |sequences: u64| (sequences as f64 * share).round() as u64;
        let (before, after) = (exams(index), exams(index + 1));
        match after > before {
            true => self.exams.sequence(seed, before, length),
            false if length <= self.native => self.near.sequence(seed, index - before, length),
            false => self.far.sequence(seed, index - before, length),
        }
    }
}
