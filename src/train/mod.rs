//! Training: stages of optimiser steps over the engine, resumable at every checkpoint.
//!
//! ```
//! use std::sync::Arc;
//!
//! use context_recipe::Cpu;
//! use context_recipe::data::{Corpora, Encoder};
//! use context_recipe::engine::{Engine, Mode};
//! use context_recipe::hub::Checkpoint;
//! use context_recipe::plan::{Adapt, Recipe, Rope, Source, Stage, presets};
//! use context_recipe::train::{self, Keeping, MetricsLog, Origin};
//!
//! # fn main() -> context_recipe::Result<()> {
//! let recipe = Recipe::new(presets::tiny(), 512).rope(Rope::yarn(2.0)).adapt(Adapt::lora(4, 8.0));
//! let recipe = recipe.data([Source::passkey()]).train([Stage::extend(2, 512, 1e-3)]);
//! let plan = recipe.plan().expect("yarn(2) takes 256 to 512");
//! let model = Checkpoint::open("assets/tiny".as_ref())?;
//! let tokenizer = model.tokenizer()?;
//! let encoder = Encoder::new(tokenizer.inner().clone(), tokenizer.bos(), tokenizer.eos())?;
//! let mut engine = Engine::new(Cpu::new(), &plan, &model.weights, 0, Mode::Train)?;
//! # let out = tempfile::tempdir().expect("a folder");
//! # let out = out.path();
//! let corpora = Corpora::open(&plan, &Arc::new(encoder), &out.join("cache"), &mut |_| ())?;
//! let keeping = Keeping { out, every: 1, keep: 1, stop: || false };
//! let place = train::run(&mut engine, &plan, &corpora, &Origin::default(), keeping, &model.weights, &mut |_| ())?;
//! // Called again, it finds the last checkpoint and has nothing left to do.
//! assert_eq!((place.total_steps, MetricsLog::read(&out.join("metrics.jsonl"))?.len()), (2, 2));
//! # Ok(())
//! # }
//! ```

mod checkpoint;
mod error;
mod gates;
mod merge;
mod metrics;
mod run;
mod schedule;
mod tensorboard;

use std::path::Path;
use std::time::Instant;

use kernels::adamw::Hyper;
use kernels::device::Device;
use recipe_core::workspace::Purpose;
use recipe_core::{Documents, Learns, MergePlan, Plan, StagePlan};

use crate::data::{Batch, Rng, positions};
use crate::engine::Engine;
use crate::hub::Tensors;
pub use checkpoint::{Checkpoints, Origin, Place, Resumed};
pub use error::Error;
pub(crate) use gates::gates_text;
pub use gates::{GATES_FILE, read_gates, save_gates};
pub(crate) use merge::merge;
pub use metrics::{GateMetrics, MetricsLog, StepMetrics};
pub use run::{Lock, Run, digest_of, weights_digest};
pub use schedule::learning_rate;

/// Where sequences come from: a pure function of (stage, index, length), so that resuming needs only an index.
pub trait Sequences {
    /// Sequence `index` of a stage, of exactly `length` tokens.
    ///
    /// # Errors
    /// When the text cannot be read any more.
    fn sequence(&self, stage: &StagePlan, index: u64) -> Result<Batch, crate::data::Error>;

    /// Whether a token ends a sentence; asked only by schemes of positions that keep sentences whole.
    fn ends_sentence(&self, _token: u32) -> bool {
        false
    }
}

/// Sequence `index` of `stage` with the stage's documents and positions.
///
/// # Errors
/// When the text cannot be read any more.
pub fn sequence(sequences: &impl Sequences, stage: &StagePlan, index: u64) -> Result<Batch, crate::data::Error> {
    let batch = sequences.sequence(stage, index)?;
    let mut batch = match stage.documents {
        Documents::Joined if !batch.replay => batch.joined(),
        Documents::Joined | Documents::Mask => batch,
    };
    positions::apply(&mut batch, stage, index, &|token| sequences.ends_sentence(token));
    Ok(batch)
}

impl Sequences for crate::data::Corpora {
    fn sequence(&self, stage: &StagePlan, index: u64) -> Result<Batch, crate::data::Error> {
        self.of(stage)?.sequence(stage.seed, index, stage.length)
    }

    fn ends_sentence(&self, token: u32) -> bool {
        self.encoder().ends_sentence(token)
    }
}

/// One optimiser step, of weights or of gates: gradients over the step's sequences in passes, clipping, AdamW.
///
/// The loss is the mean over all counted tokens of the step, not a mean of means.
///
/// # Errors
/// A loss or gradient that is not finite: nothing is updated then.
pub fn step<D: Device>(
    engine: &mut Engine<D>,
    stage: &StagePlan,
    place: &Place,
    sequences: &impl Sequences,
) -> Result<StepMetrics, Error> {
    let started = Instant::now();
    let first = (place.step * stage.batch) as u64;
    let end = first + stage.batch as u64;
    let batches: Vec<Batch> = (first..end).map(|i| sequence(sequences, stage, i)).collect::<Result<_, _>>()?;
    let counted = batches.iter().map(Batch::counted).sum::<usize>().max(1);
    engine.set_rope(&stage.rope);
    engine.set_offload(matches!(engine.plan().purpose(stage), Purpose::Train { offload: true, .. }));
    engine.clear_gradients();
    let Learned { sum, grad_norm, gates } = match stage.learns {
        Learns::Weights => weights(engine, stage, place, &batches, counted)?,
        Learns::Gates { reg, .. } => gates::learn(engine, stage, reg, &batches, counted)?,
    };
    let loss = sum / counted as f64;
    let lr = learning_rate(stage, place.step + 1);
    for (what, value) in [("loss", loss), ("gradient norm", grad_norm)] {
        if !value.is_finite() {
            return Err(Error::NotFinite { step: place.total_steps + 1, what, value, first, end, lr });
        }
    }
    match stage.learns {
        Learns::Weights => engine.update(&hyper(stage, place.updates + 1, lr, grad_norm)),
        // One stage learns gates, so its steps are theirs.
        Learns::Gates { .. } => engine.update_gates(&hyper(stage, place.step + 1, lr, grad_norm)),
    }
    engine.check_device()?;
    let tokens = (stage.batch * stage.length) as u64;
    Ok(StepMetrics {
        step: place.total_steps + 1,
        stage: place.stage,
        loss,
        grad_norm,
        learning_rate: lr,
        tokens: place.tokens + tokens,
        tokens_per_second: tokens as f64 / started.elapsed().as_secs_f64(),
        peak_memory_bytes: engine.device().memory().1,
        gates,
    })
}

/// Names the dropout of a pass.
pub(crate) fn noise(stage: &StagePlan, step: usize, pass: usize) -> u64 {
    Rng::new(&[stage.seed, step as u64, pass as u64]).bits()
}

/// What the passes of a step came to.
struct Learned {
    /// Of the loss, over all rows.
    sum: f64,
    grad_norm: f64,
    gates: Option<GateMetrics>,
}

fn weights<D: Device>(
    engine: &mut Engine<D>,
    stage: &StagePlan,
    place: &Place,
    batches: &[Batch],
    counted: usize,
) -> Result<Learned, Error> {
    let mut sum = 0.0;
    for (index, pass) in batches.chunks(stage.micro_batch().max(1)).enumerate() {
        engine.set_noise(noise(stage, place.total_steps, index));
        let scores = engine.learn(&Batch::concat(pass), 1.0 / counted as f32, stage.recompute)?;
        sum += scores.nll.iter().map(|&nll| f64::from(nll)).sum::<f64>();
    }
    Ok(Learned { sum, grad_norm: engine.gradient_norm(), gates: None })
}

/// AdamW's moments go on from stage to stage up to a merge, so its bias correction counts the steps since. Clipping as in
/// `torch.nn.utils.clip_grad_norm_`: gradients are scaled by clip ÷ (norm + 1e-6) when that is below 1.
fn hyper(stage: &StagePlan, step: usize, lr: f64, grad_norm: f64) -> Hyper {
    Hyper {
        lr,
        beta1: stage.beta1,
        beta2: stage.beta2,
        eps: 1e-8,
        weight_decay: stage.weight_decay,
        step: step as u64,
        grad_scale: (stage.clip / (grad_norm + 1e-6)).min(1.0),
    }
}

/// How a run keeps itself.
#[derive(Clone, Copy, Debug)]
pub struct Keeping<'a> {
    /// The run's folder.
    pub out: &'a Path,
    /// Steps between checkpoints.
    pub every: usize,
    /// Checkpoints that stay.
    pub keep: usize,
    /// Asked after every step: whether to leave off there, with a checkpoint.
    pub stop: fn() -> bool,
}

/// Runs all stages of `plan`, from the newest checkpoint in the run's folder when there is one.
///
/// `original` are the weights that the run started from, which nothing but a merge reads. `watch` sees where a run
/// resumes, every step and every merge.
///
/// # Errors
/// See [`Error`]; whatever happens, the newest checkpoint is whole.
pub fn run<D: Device>(
    engine: &mut Engine<D>,
    plan: &Plan,
    sequences: &impl Sequences,
    origin: &Origin,
    keeping: Keeping<'_>,
    original: &dyn Tensors,
    watch: &mut dyn FnMut(Event<'_>),
) -> Result<Place, Error> {
    if plan.stages.is_empty() {
        return Err(Error::NothingToTrain { recipe: plan.name.to_string() });
    }
    std::fs::create_dir_all(keeping.out).map_err(Error::file(keeping.out))?;
    let checkpoints = Checkpoints::new(keeping.out, keeping.keep);
    let resumed = checkpoints.resume(engine, origin)?;
    let mut place = resumed.as_ref().map_or_else(Place::default, |resumed| resumed.place);
    let mut log = MetricsLog::open(keeping.out, place.total_steps)?;
    if let Some(resumed) = &resumed {
        watch(Event::Resumed(resumed));
    }
    while let Some(stage) = plan.stages.get(place.stage) {
        if place.step == stage.steps {
            place = Place { stage: place.stage + 1, step: 0, ..place };
            if stage.merge != MergePlan::None {
                place.updates = 0;
                merge_into(engine, plan, stage, original)?;
                // Takes the place of the stage's last checkpoint at once, so that a run is merged exactly once.
                checkpoints.save(engine, &place, origin)?;
                watch(Event::Merged(stage));
            }
            continue;
        }
        let metrics = step(engine, stage, &place, sequences)?;
        place = place.after(&metrics);
        log.push(&metrics)?;
        watch(Event::Step(&metrics));
        let stop = (keeping.stop)();
        if stop || place.step == stage.steps || place.total_steps.is_multiple_of(keeping.every.max(1)) {
            checkpoints.save(engine, &place, origin)?;
        }
        if stop {
            return Err(Error::Stopped { step: place.total_steps });
        }
    }
    engine.set_rope(&plan.rope);
    Ok(place)
}

/// The stage's merge; the optimiser starts anew, since its moments belong to the weights before.
fn merge_into<D: Device>(
    engine: &mut Engine<D>,
    plan: &Plan,
    stage: &StagePlan,
    original: &dyn Tensors,
) -> Result<(), Error> {
    let mut trained = engine.trained();
    engine.check_device()?;
    merge(&mut trained, original, plan, &stage.merge)?;
    Ok(engine.restart(&trained)?)
}

/// What a run reports.
#[derive(Debug)]
pub enum Event<'a> {
    /// It goes on from a checkpoint.
    Resumed(&'a Resumed),
    /// A step is done.
    Step(&'a StepMetrics),
    /// The weights are merged behind this stage.
    Merged(&'a StagePlan),
}
