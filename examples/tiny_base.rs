//! Trains the embedded base model: a small Llama with a native window of 256 tokens, from nothing, on generated
//! chronicles. `assets/tiny/` holds what this program wrote.
//!
//! ```text
//! cargo run --release --example tiny_base -- assets/tiny
//! ```
//!
//! Recall comes first and alone: ledgers (names and their words, over and over) from 32 to 256 tokens, then chronicles.

use std::path::PathBuf;
use std::sync::Arc;

use context_recipe::data::chronicle::{self, Density};
use context_recipe::data::{self, Batch, Corpus, Encoder};
use context_recipe::engine::{Engine, Mode};
use context_recipe::hub::{self, Tokenizer, Weights};
use context_recipe::plan::{HfConfig, StagePlan};
use context_recipe::report::{Progress, RunReport};
use context_recipe::train::{self, Event, Keeping, MetricsLog, Origin, Sequences};
use context_recipe::{Cpu, Result, recipe};

recipe! {
    /// The embedded base, trained from nothing.
    pub TinyBase {
        model: tiny,
        context: 256,
        train: [
            extend(steps = 300, length = 32, batch = 64, lr = 3e-3, warmup = 100, weight_decay = 0.1, seed = 0),
            extend(steps = 400, length = 64, batch = 32, lr = 3e-3, warmup = 0, weight_decay = 0.1, seed = 1),
            extend(steps = 300, length = 128, batch = 16, lr = 3e-3, warmup = 0, weight_decay = 0.1, seed = 2),
            extend(steps = 200, length = 256, batch = 8, lr = 3e-3, warmup = 0, weight_decay = 0.1, seed = 3),
            extend(
                steps = 1200, length = 256, batch = 8, lr = 3e-3, warmup = 0, schedule = cosine, weight_decay = 0.1,
                seed = 4,
            ),
        ],
        device: cpu(4GiB),
    }
}

/// Ledgers in every stage but the last.
struct Text {
    ledgers: Corpus,
    chronicles: Corpus,
}

impl Sequences for Text {
    fn sequence(&self, stage: &StagePlan, index: u64) -> std::result::Result<Batch, data::Error> {
        let last = stage.seed == 4;
        let corpus = if last { &self.chronicles } else { &self.ledgers };
        corpus.sequence(stage.seed, index, stage.length)
    }
}

fn main() -> Result<()> {
    let out = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "runs/tiny".to_owned()));
    let plan = TinyBase::PLAN;
    let tokenizer = Tokenizer::from_files(
        chronicle::tokenizer_json().as_bytes(),
        chronicle::tokenizer_config_json().as_bytes(),
    )?;
    let encoder = Encoder::new(tokenizer.inner().clone(), tokenizer.bos(), tokenizer.eos())?;
    let encoder = Arc::new(encoder);
    let text = Text {
        ledgers: Corpus::chronicle(Arc::clone(&encoder), Density::Ledger),
        chronicles: Corpus::chronicle(encoder, Density::Dense),
    };
    let mut engine = Engine::new(Cpu::new(), &plan, &Weights::new(), 0, Mode::Train)?;

    let progress = Progress::new("train", "steps", plan.stages.iter().map(|stage| stage.steps as u64).sum());
    let keeping = Keeping { out: &out, every: 200, keep: 2 };
    train::run(&mut engine, &plan, &text, &Origin::default(), keeping, &mut |event| match event {
        Event::Resumed(resumed) => progress.resume_at(resumed.place.total_steps as u64),
        Event::Step(metrics) => progress.step(metrics),
    })?;
    progress.finish("trained");

    let options = hub::Options { tokenizer: Some(&tokenizer), ..hub::Options::default() };
    hub::write(&out, &HfConfig::of(&plan.model), engine.merged().views(), &options)?;
    let metrics = MetricsLog::read(&out.join("metrics.jsonl"))?;
    let report =
        RunReport { plan: &plan, metrics: &metrics, perplexity: &[], passkey: &[], protocol: &[], files: &[] };
    println!("{}", report.write(&out)?.display());
    Ok(())
}
