//! What a rehearsal reads: generated chronicles with the recipe's share of passkey exams, or a person's own text.

use std::path::Path;
use std::sync::Arc;

use recipe_core::{SourceKind, SourcePlan, StagePlan};

use crate::data::chronicle::Density;
use crate::data::{Batch, Corpus, Encoder, Error};
use crate::train::Sequences;

/// Text for training.
pub(super) struct Text {
    prose: Corpus,
    exams: Option<Corpus>,
    /// Share of exams, in (0, 1).
    share: f64,
}

impl Text {
    /// Chronicles, or the file at `own`; `data` says how large a share of passkey exams there is.
    pub(super) fn new(
        encoder: &Arc<Encoder>,
        data: &[SourcePlan],
        own: Option<&Path>,
        cache: &Path,
    ) -> Result<Self, Error> {
        let whole = |kind| [SourcePlan { kind, share: 1.0 }];
        let open = |plan: &[SourcePlan]| Corpus::open(plan, Arc::clone(encoder), cache, &mut |_| {});
        let prose = match own {
            Some(path) => open(&whole(SourceKind::Text { glob: path.display().to_string().into() }))?,
            None => Corpus::chronicle(Arc::clone(encoder), Density::Distant),
        };
        let share: f64 =
            data.iter().filter(|source| source.kind == SourceKind::Passkey).map(|source| source.share).sum();
        let exams = if share > 0.0 { Some(open(&whole(SourceKind::Passkey))?) } else { None };
        Ok(Self { prose, exams, share })
    }
}

impl Sequences for Text {
    fn sequence(&self, stage: &StagePlan, index: u64) -> Result<Batch, Error> {
        self.piece(stage.seed, index, stage.length)
    }
}

impl Text {
    /// Exams are spread evenly: after any number of sequences their count is the nearest to the share.
    pub(super) fn piece(&self, seed: u64, index: u64, length: usize) -> Result<Batch, Error> {
        let exams = |sequences: u64| (sequences as f64 * self.share).round() as u64;
        let (before, after) = (exams(index), exams(index + 1));
        match &self.exams {
            Some(corpus) if after > before => corpus.sequence(seed, before, length),
            _ => self.prose.sequence(seed, index - before, length),
        }
    }
}
