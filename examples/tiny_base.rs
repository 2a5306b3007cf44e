//! Trains the embedded base model: a small Llama with a native window of 256 tokens, from nothing, on generated text.
//! `assets/tiny/` holds what this program wrote.
//!
//! ```text
//! cargo run --release --example tiny_base -- runs/tiny
//! ```
//!
//! Two parts. First the outer layers see 16 tokens only, so that whatever looks further back forms in the middle ones, where
//! large models have it; recall comes before language: ledgers (names and their words, over and over) from 32 to 256 tokens,
//! then chronicles. Then all layers see everything.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use context_recipe::data::chronicle::{self, Density};
use context_recipe::data::{self, Batch, Corpus, Encoder};
use context_recipe::engine::{Engine, Mode};
use context_recipe::eval;
use context_recipe::hub::{self, Tokenizer, Weights};
use context_recipe::plan::{HfConfig, Plan, Schedule, StagePlan};
use context_recipe::report::{self, Progress, RunReport};
use context_recipe::train::{self, Event, Keeping, MetricsLog, Origin, Sequences};
use context_recipe::{Cpu, Result, recipe};

recipe! {
    /// Recall in the middle layers, then language.
    pub Middle {
        model: tiny,
        context: 256,
        attention: hybrid(full = 2, window = 16, sink = 4, block = 16),
        train: [
            extend(steps = 250, length = 32, batch = 64, lr = 3e-3, warmup = 100, weight_decay = 0.1, seed = 0),
            extend(steps = 350, length = 64, batch = 32, lr = 3e-3, warmup = 0, weight_decay = 0.1, seed = 1),
            extend(steps = 250, length = 128, batch = 16, lr = 3e-3, warmup = 0, weight_decay = 0.1, seed = 2),
            extend(steps = 200, length = 256, batch = 8, lr = 3e-3, warmup = 0, weight_decay = 0.1, seed = 3),
            extend(
                steps = 2000, length = 256, batch = 8, lr = 3e-3, warmup = 0, schedule = cosine, weight_decay = 0.1,
                seed = 4,
            ),
        ],
        device: cpu(4GiB),
    }
}

recipe! {
    /// All layers full.
    pub TinyBase {
        model: tiny,
        context: 256,
        train: [
            extend(
                steps = 200, length = 256, batch = 8, lr = 7e-4, warmup = 100, schedule = cosine, weight_decay = 0.1,
                seed = 0,
            ),
        ],
        device: cpu(4GiB),
    }
}

struct Text {
    ledgers: Corpus,
    chronicles: Corpus,
}

impl Sequences for Text {
    /// Chronicles where the learning rate falls to the end, ledgers before.
    fn sequence(&self, stage: &StagePlan, index: u64) -> std::result::Result<Batch, data::Error> {
        let corpus = if stage.schedule == Schedule::Cosine { &self.chronicles } else { &self.ledgers };
        corpus.sequence(stage.seed, index, stage.length)
    }
}

fn main() -> Result<()> {
    let out = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "runs/tiny".to_owned()));
    let tokenizer =
        Tokenizer::from_files(chronicle::tokenizer_json().as_bytes(), chronicle::tokenizer_config_json().as_bytes())?;
    let encoder = Arc::new(Encoder::new(tokenizer.inner().clone(), tokenizer.bos(), tokenizer.eos())?);
    let text = Text {
        ledgers: Corpus::chronicle(Arc::clone(&encoder), Density::Ledger),
        chronicles: Corpus::chronicle(Arc::clone(&encoder), Density::Dense),
    };
    let mut weights = Weights::new();
    for plan in [Middle::PLAN, TinyBase::PLAN] {
        weights = train(&plan, &weights, &text, &out.join(plan.name.to_lowercase()))?;
    }
    let options = hub::Options { tokenizer: Some(&tokenizer), ..hub::Options::default() };
    hub::write(&out.join("model"), &HfConfig::of(&TinyBase::PLAN.model), weights.views(), &options)?;
    println!("{}", out.join("model").display());
    exams(&weights, &encoder)
}

/// Prints how well keys are recalled within the native window.
fn exams(weights: &Weights, encoder: &Encoder) -> Result<()> {
    let mut engine = Engine::new(Cpu::new(), &TinyBase::PLAN, weights, 0, Mode::Infer)?;
    let scores = eval::passkey(&mut engine, encoder, TinyBase::PLAN.target, 64, 0, &mut |_| {})?;
    print!("{}", report::passkey_table(&scores).to_text());
    Ok(())
}

/// One part, from the weights of the part before (none: from nothing).
fn train(plan: &Plan, from: &Weights, text: &Text, out: &Path) -> Result<Weights> {
    let mut engine = Engine::new(Cpu::new(), plan, from, 0, Mode::Train)?;
    let steps = plan.stages.iter().map(|stage| stage.steps as u64).sum();
    let progress = Progress::new(&plan.name, "steps", steps);
    let keeping = Keeping { out, every: 200, keep: 2, stop: || false };
    train::run(&mut engine, plan, text, &Origin::default(), keeping, from, &mut |event| match event {
        Event::Resumed(resumed) => progress.resume_at(resumed.place.total_steps as u64),
        Event::Step(metrics) => progress.step(metrics),
        Event::Merged(_) => {}
    })?;
    progress.finish("");
    let metrics = MetricsLog::read(&out.join("metrics.jsonl"))?;
    let none = eval::Evaluation::default();
    let report = RunReport { plan, metrics: &metrics, before: &none, evaluation: &none, protocol: &[], files: &[] };
    report.write(out)?;
    Ok(engine.merged())
}
