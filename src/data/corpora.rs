//! What a run reads: a corpus for each list of sources that its stages name.

use std::path::Path;
use std::sync::Arc;

use recipe_core::{Plan, SelectPlan, SourcePlan, StagePlan};

use super::corpus::Corpus;
use super::digest::{Digest, hex};
use super::encoder::Encoder;
use super::error::Error;
use super::store::Reading;

/// The corpora of a plan's stages; stages that read and select the same share one.
pub struct Corpora {
    encoder: Arc<Encoder>,
    corpora: Vec<(Text, Corpus)>,
}

/// What a stage reads.
struct Text {
    sources: Vec<SourcePlan>,
    select: SelectPlan,
}

impl Text {
    fn is_of(&self, stage: &StagePlan) -> bool {
        *self.sources == *stage.data && self.select == stage.select
    }
}

impl Corpora {
    /// Opens what the stages of `plan` read, as [`Corpus::open`] does.
    ///
    /// # Errors
    /// Those of [`Corpus::open`].
    pub fn open(
        plan: &Plan,
        encoder: &Arc<Encoder>,
        cache: &Path,
        report: &mut dyn FnMut(Reading<'_>),
    ) -> Result<Self, Error> {
        let mut corpora: Vec<(Text, Corpus)> = Vec::new();
        for stage in plan.stages.iter() {
            if !corpora.iter().any(|(text, _)| text.is_of(stage)) {
                let corpus = Corpus::open(&stage.data, &stage.select, Arc::clone(encoder), cache, report)?;
                corpora.push((Text { sources: stage.data.to_vec(), select: stage.select.clone() }, corpus));
            }
        }
        Ok(Self { encoder: Arc::clone(encoder), corpora })
    }

    /// The tokenizer that made the tokens.
    pub fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// What `stage` reads.
    ///
    /// # Errors
    /// When the stage is none of the plan's.
    pub fn of(&self, stage: &StagePlan) -> Result<&Corpus, Error> {
        let found = self.corpora.iter().find(|(text, _)| text.is_of(stage));
        found.map(|(_, corpus)| corpus).ok_or(Error::NoSource)
    }

    /// What to know before the stages of `plan` read.
    pub fn notes(&self, plan: &Plan) -> Vec<String> {
        let notes = self.corpora.iter().flat_map(|(text, corpus)| {
            let readers = || plan.stages.iter().filter(|stage| text.is_of(stage));
            let longest = readers().map(|stage| stage.length).max().unwrap_or(0);
            let sequences: usize = readers().map(|stage| stage.steps.saturating_mul(stage.batch)).sum();
            corpus.notes(longest, sequences as u64)
        });
        notes.collect()
    }

    /// What decides every sequence of every stage.
    pub(crate) fn digest(&self) -> String {
        let mut digest = Digest::new();
        self.corpora.iter().for_each(|(_, corpus)| digest.update(corpus.digest().as_bytes()));
        hex(&digest.finish())
    }
}

#[cfg(test)]
mod tests;
