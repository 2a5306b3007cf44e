//! What the trials' training reads.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use context_recipe::data::chronicle::{Density, Seed, document};
use context_recipe::data::{Batch, Corpora, Encoder, Error, Rng};
use context_recipe::plan::{Plan, SourceKind, SourcePlan, StagePlan};
use context_recipe::rehearse;
use context_recipe::train::Sequences;
use serde_json::json;

use super::arm::Reads;
use super::run::{Result, said};

/// The name under which plans know the files of chronicles, and that of the short ones.
pub(crate) const LONG: &str = "chronicles.jsonl";
pub(crate) const SHORT: &str = "short.jsonl";

/// The value that says how much of them is selected.
pub(crate) const SELECTED: &str = "share selected";

/// Tokens written to files: more than any arm reads.
const TOKENS: usize = 700_000;

/// Text for training, in one of its forms.
pub(crate) enum Text {
    Chronicles(Box<rehearse::Text>),
    Groups(Box<rehearse::Text>, usize),
    Files(Box<Corpora>),
}

impl Text {
    pub(crate) fn open(reads: Reads, encoder: &Arc<Encoder>, plan: &Plan, seed: u64, folder: &Path) -> Result<Self> {
        let chronicles = || rehearse::Text::new(encoder, plan, None, folder).map(Box::new).map_err(said);
        Ok(match reads {
            Reads::Chronicles => Self::Chronicles(chronicles()?),
            Reads::Groups { size } => Self::Groups(chronicles()?, size),
            Reads::Files { longest } => {
                write(encoder, seed, longest, &folder.join(LONG))?;
                write(encoder, seed + 1_000_000, plan.model.context, &folder.join(SHORT))?;
                let cache = folder.join("cache");
                Self::Files(Box::new(Corpora::open(plan, encoder, &cache, &mut |_| ()).map_err(said)?))
            }
        })
    }

    /// Share of the files' tokens that `stage` selects; nothing where it reads all text.
    pub(crate) fn selected(&self, stage: &StagePlan) -> Option<f64> {
        let Self::Files(corpora) = self else { return None };
        corpora.of(stage).ok()?.summaries().first()?.selected
    }
}

impl Sequences for Text {
    fn sequence(&self, stage: &StagePlan, index: u64) -> std::result::Result<Batch, Error> {
        match self {
            Self::Chronicles(text) => text.sequence(stage, index),
            Self::Files(corpora) => corpora.sequence(stage, index),
            Self::Groups(text, size) => {
                let mut batch = text.sequence(stage, index)?;
                // Positions go on: a group is no document of its own, it is only all that a query sees.
                let rows = batch.documents.iter_mut().enumerate();
                rows.for_each(|(row, document)| *document = (row / size) as u32);
                Ok(batch)
            }
        }
    }

    fn ends_sentence(&self, token: u32) -> bool {
        match self {
            Self::Chronicles(text) | Self::Groups(text, _) => text.ends_sentence(token),
            Self::Files(corpora) => corpora.ends_sentence(token),
        }
    }
}

/// The plan with its files where they are.
pub(crate) fn located(plan: &Plan, folder: &Path) -> Plan {
    let moved = |source: &SourcePlan| {
        let mut source = source.clone();
        if let SourceKind::Jsonl { glob, .. } | SourceKind::Text { glob } = &mut source.kind {
            *glob = folder.join(&**glob).display().to_string().into();
        }
        source
    };
    let mut plan = plan.clone();
    plan.data = plan.data.iter().map(moved).collect();
    for stage in plan.stages.to_mut() {
        stage.data = stage.data.iter().map(moved).collect();
    }
    plan
}

/// Chronicles of a quarter of `longest` tokens to all of it, as text.
fn write(encoder: &Encoder, seed: u64, longest: usize, path: &Path) -> Result<()> {
    let (mut lines, mut tokens, mut rng) = (String::new(), 0, Rng::new(&[seed, longest as u64]));
    for index in 0.. {
        if tokens >= TOKENS {
            break;
        }
        let length = longest / 4 + rng.below(longest - longest / 4) + 1;
        let written = document(encoder, Seed::train(seed, index), length, Density::Distant).map_err(said)?;
        let text = encoder.tokenizer().decode(&written.tokens, true).map_err(said)?;
        lines += &format!("{}\n", json!({ "text": text }));
        tokens += length;
    }
    fs::write(path, lines).map_err(said)
}
