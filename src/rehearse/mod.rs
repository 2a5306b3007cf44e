//! `rehearse`: the recipe at toy scale on the embedded base, before and after.
//!
//! Three states are measured on the same documents: the base untouched, the base under the recipe's rope (no training),
//! and the base after the recipe.

mod agree;
mod base;
mod error;
mod measure;
mod text;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use kernels::device::Cpu;
use recipe_core::{EvalPlan, GatesPlan, HfConfig, Learns, MergePlan, Pattern, Plan, StagePlan};

use crate::data::Encoder;
use crate::engine::{Engine, Mode};
use crate::eval::PasskeyScore;
use crate::hub::{self, Weights};
use crate::model::{Hyper, Input, TypedModel};
use crate::report::RehearsalRow;
use crate::train::{self, Event, Keeping, Origin, Place, StepMetrics};
pub use agree::Agreement;
pub use base::Base;
pub use error::Error;
pub use measure::{Measured, documents, measure};
pub use text::Text;

/// How to rehearse.
#[derive(Clone, Debug)]
pub struct Options {
    /// Seed of the training text, the adapters and the evaluation documents.
    pub seed: u64,
    /// Where the report and the model go; what an earlier rehearsal left there is replaced.
    pub out: PathBuf,
    /// A person's own text to train on.
    pub text: Option<PathBuf>,
    /// Train the typed dfdx model itself instead of the engine.
    pub dfdx: bool,
}

/// What a rehearsal found.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Native window of the base, in tokens.
    pub native: usize,
    /// The seed.
    pub seed: u64,
    /// Wall-clock time of everything.
    pub seconds: f64,
    /// Engine against typed model.
    pub agreement: Agreement,
    /// Every state at every length.
    pub rows: Vec<RehearsalRow>,
    /// Recall of the final state by length and depth.
    pub depths: Vec<PasskeyScore>,
    /// (state, (position, nll)) at the longest length.
    pub curves: Vec<(&'static str, Vec<(f64, f64)>)>,
    /// Every optimiser step.
    pub steps: Vec<StepMetrics>,
    /// The gates that were learned, layer by layer, where the plan learns any.
    pub gates: Option<Vec<Vec<f64>>>,
    /// The exported model, a Hugging Face directory.
    pub model: PathBuf,
}

/// What a rehearsal is doing, for whoever shows progress.
#[derive(Debug)]
pub enum Progress<'a> {
    /// Engine and typed model agree.
    Agreed(&'a Agreement),
    /// Begins to measure a state: its name and how many documents.
    Measuring(&'static str, usize),
    /// A document is read.
    Document,
    /// Begins to train this plan's stages.
    Training(&'a Plan),
    /// A step is done.
    Step(&'a StepMetrics),
    /// All steps are done.
    Trained,
    /// A state is measured.
    Measured(&'a [RehearsalRow]),
}

/// Runs `plan`, which is a rehearsal plan (see [`Plan::rehearsal`]), through base, rope and recipe.
///
/// # Errors
/// See [`Error`].
pub fn run<M: TypedModel>(
    plan: &Plan,
    options: &Options,
    watch: &mut dyn FnMut(Progress<'_>),
) -> Result<Outcome, Error> {
    let started = Instant::now();
    let base = Base::embedded()?;
    let encoder = Arc::new(base.encoder()?);
    let plan = seeded(plan, options.seed);
    clear(&options.out)?;
    let text = Text::new(&encoder, &plan, options.text.as_deref(), &options.out.join("cache"))?;
    let mut at = Rehearsal {
        plan: &plan,
        base: &base,
        encoder: &encoder,
        options,
        rows: vec![],
        curves: vec![],
        depths: vec![],
    };
    let agreement = at.agreement::<M>(&text)?;
    watch(Progress::Agreed(&agreement));
    at.measure("base", &plan.untouched(), &base.weights, watch)?;
    at.measure("rope", &rope_only(&plan), &base.weights, watch)?;
    let Trained { merged, steps, gates } =
        if options.dfdx { at.train_typed::<M>(&text, watch)? } else { at.train(&text, watch)? };
    watch(Progress::Trained);
    let finished = gates.as_ref().map_or_else(|| plan.clone(), |gates| plan.with_gates(gates));
    at.measure("recipe", &finished.merged(), &merged, watch)?;
    let model = at.export(&merged, gates.as_deref())?;
    let Rehearsal { rows, curves, depths, .. } = at;
    let seconds = started.elapsed().as_secs_f64();
    Ok(Outcome {
        native: base.model.context,
        seed: options.seed,
        seconds,
        agreement,
        rows,
        depths,
        curves,
        steps,
        gates,
        model,
    })
}

/// What training leaves.
struct Trained {
    /// Weights with their adapters.
    merged: Weights,
    steps: Vec<StepMetrics>,
    gates: Option<Vec<Vec<f64>>>,
}

struct Rehearsal<'a> {
    plan: &'a Plan,
    base: &'a Base,
    encoder: &'a Encoder,
    options: &'a Options,
    rows: Vec<RehearsalRow>,
    curves: Vec<(&'static str, Vec<(f64, f64)>)>,
    depths: Vec<PasskeyScore>,
}

impl Rehearsal<'_> {
    /// One step of two short sequences in both implementations.
    fn agreement<M: TypedModel>(&self, text: &Text) -> Result<Agreement, Error> {
        let mut engine = self.engine(Mode::Train)?;
        let typed: M = agree::typed_model(self.plan, &self.starting_point(&engine))?;
        let native = self.base.model.context;
        let piece = |index| text.piece(&self.plan.data, self.options.seed, index, native);
        let batch = crate::data::Batch::concat(&[piece(0)?, piece(1)?]);
        agree::agree(&mut engine, &typed, &batch)
    }

    /// The base and the engine's fresh adapters. A 4-bit base is rounded once, by whoever loads it: what is read back
    /// from an engine and rounded again would differ.
    fn starting_point(&self, engine: &Engine<Cpu>) -> Weights {
        let adapters = engine.values().into_iter().filter(|(name, _)| name.contains(".lora_"));
        self.base.weights.clone().into_iter().chain(adapters).collect()
    }

    fn engine(&self, mode: Mode) -> Result<Engine<Cpu>, Error> {
        Ok(Engine::new(Cpu::new(), self.plan, &self.base.weights, self.options.seed, mode)?)
    }

    fn measure(
        &mut self,
        state: &'static str,
        plan: &Plan,
        weights: &Weights,
        watch: &mut dyn FnMut(Progress<'_>),
    ) -> Result<(), Error> {
        let lengths = lengths(self.plan);
        watch(Progress::Measuring(state, lengths.iter().map(|&length| measure::documents(length)).sum()));
        let mut engine = Engine::new(Cpu::new(), plan, weights, 0, Mode::Infer)?;
        let (native, first) = (self.base.model.context, self.rows.len());
        for &context in &lengths {
            let mut tick = || watch(Progress::Document);
            let found =
                measure::measure(&mut engine, self.encoder, state, (native, context), self.options.seed, &mut tick)?;
            self.rows.push(found.row);
            if state == "recipe" {
                self.depths.extend(found.depths);
            }
            if Some(&context) == lengths.last() {
                self.curves.push((state, found.curve));
            }
        }
        watch(Progress::Measured(&self.rows[first..]));
        Ok(())
    }

    /// Trains the engine.
    fn train(&self, text: &Text, watch: &mut dyn FnMut(Progress<'_>)) -> Result<Trained, Error> {
        let mut engine = self.engine(Mode::training(self.plan))?;
        let mut steps = vec![];
        if !self.plan.stages.is_empty() {
            watch(Progress::Training(self.plan));
            let keeping = Keeping { out: &self.options.out, every: usize::MAX, keep: 1, stop: || false };
            let origin = Origin::default();
            train::run(&mut engine, self.plan, text, &origin, keeping, &self.base.weights, &mut |event| {
                if let Event::Step(metrics) = event {
                    watch(Progress::Step(metrics));
                    steps.push(metrics.clone());
                }
            })?;
        }
        Ok(Trained { merged: engine.merged(), steps, gates: engine.gates() })
    }

    /// The same schedule on dfdx's tape and optimiser, one sequence batch at a time. Gates learn on the engine: the typed
    /// model says what weights mean.
    fn train_typed<M: TypedModel>(&self, text: &Text, watch: &mut dyn FnMut(Progress<'_>)) -> Result<Trained, Error> {
        let mut typed: M = agree::typed_model(self.plan, &self.starting_point(&self.engine(Mode::Train)?))?;
        watch(Progress::Training(self.plan));
        // The typed model's numbers are rounded already.
        let plan = Plan { adapt: self.plan.adapt.clone().dense(), ..self.plan.clone() };
        let (mut place, mut steps) = (Place::default(), vec![]);
        let of_weights = |(_, stage): &(usize, &StagePlan)| stage.learns == Learns::Weights;
        for (index, stage) in self.plan.stages.iter().enumerate().filter(of_weights) {
            place = Place { stage: index, step: 0, ..place };
            for _ in 0..stage.steps {
                let metrics = typed_step(&mut typed, stage, &place, text)?;
                place = place.after(&metrics);
                watch(Progress::Step(&metrics));
                steps.push(metrics);
            }
            if stage.merge != MergePlan::None {
                let mut weights = agree::weights_of(&typed);
                train::merge(&mut weights, &self.base.weights, &plan, &stage.merge)?;
                typed = agree::typed_model(&plan, &weights)?;
            }
        }
        let mut engine = Engine::new(Cpu::new(), &plan, &agree::weights_of(&typed), 0, Mode::Gates)?;
        for (index, stage) in self.plan.stages.iter().enumerate().filter(|stage| !of_weights(stage)) {
            place = Place { stage: index, step: 0, ..place };
            for _ in 0..stage.steps {
                let metrics = train::step(&mut engine, stage, &place, text)?;
                place = place.after(&metrics);
                watch(Progress::Step(&metrics));
                steps.push(metrics);
            }
        }
        Ok(Trained { merged: engine.merged(), steps, gates: engine.gates() })
    }

    fn export(&self, merged: &Weights, gates: Option<&[Vec<f64>]>) -> Result<PathBuf, Error> {
        let dir = self.options.out.join("model");
        let config = HfConfig::of(&self.base.model).with_rope(&self.plan.rope, self.plan.target);
        let options = hub::Options { tokenizer: Some(&self.base.tokenizer), ..hub::Options::default() };
        hub::write(&dir, &config, merged.views(), &options)?;
        if let Some(gates) = gates {
            train::save_gates(&dir, gates)?;
        }
        Ok(dir)
    }
}

fn typed_step<M: TypedModel>(
    typed: &mut M,
    stage: &StagePlan,
    place: &Place,
    text: &Text,
) -> Result<StepMetrics, Error> {
    let started = Instant::now();
    let first = (place.step * stage.batch) as u64;
    let sequences = (first..first + stage.batch as u64).map(|index| train::sequence(text, stage, index));
    let batch = crate::data::Batch::concat(&sequences.collect::<Result<Vec<_>, _>>()?);
    let starts = batch.starts();
    let (stretch, noise) = (batch.stretch, Some(train::noise(stage, place.total_steps, 0)));
    let input = Input { tokens: &batch.tokens, positions: &batch.positions, starts: &starts, stretch, noise };
    typed.set_rope(&stage.rope);
    let lr = train::learning_rate(stage, place.step + 1);
    let StagePlan { beta1, beta2, weight_decay, clip, .. } = *stage;
    let hyper = Hyper { lr, beta1, beta2, eps: 1e-8, weight_decay, clip };
    let found = typed.train_step(&input, &batch.targets, &hyper)?;
    Ok(StepMetrics {
        step: place.total_steps + 1,
        stage: place.stage,
        loss: f64::from(found.loss),
        grad_norm: found.grad_norm,
        learning_rate: lr,
        tokens: place.tokens + batch.len() as u64,
        tokens_per_second: batch.len() as f64 / started.elapsed().as_secs_f64(),
        peak_memory_bytes: 0,
        gates: None,
    })
}

/// The plan with its data order moved to another seed.
pub fn seeded(plan: &Plan, seed: u64) -> Plan {
    let stages =
        plan.stages.iter().map(|stage| StagePlan { seed: stage.seed.wrapping_add(1000 * seed), ..stage.clone() });
    Plan { stages: stages.collect(), ..plan.clone() }
}

/// The base's weights under the recipe's rope, full attention.
fn rope_only(plan: &Plan) -> Plan {
    let layers = vec![Pattern::Full; plan.layers.len()].into();
    Plan { layers, gates: GatesPlan::Given, ..plan.merged() }
}

fn lengths(plan: &Plan) -> Vec<usize> {
    let perplexity = plan.eval.iter().find_map(|eval| match eval {
        EvalPlan::Perplexity { lengths } => Some(lengths.to_vec()),
        _ => None,
    });
    perplexity.unwrap_or_else(|| vec![plan.target])
}

/// How the figures were made, in words.
pub fn protocol() -> Vec<String> {
    vec![
        "Documents are generated chronicles with five keys, hidden at depths 0, 25, 50, 75 and 100 % and asked for at the end; \
         each document is read once and teacher-forced. Training and evaluation text come from seeds that never meet."
            .to_owned(),
        "A key counts as recalled when each of its tokens was the most likely one. Losses are means per token, in nats."
            .to_owned(),
        "base: untouched. rope only: the base's weights under the recipe's rope, full attention, no training. recipe: after \
         training, with the recipe's rope and attention, adapters merged."
            .to_owned(),
    ]
}

/// A rehearsal starts over.
fn clear(out: &Path) -> Result<(), Error> {
    let file = |path: &Path| {
        let path = path.to_owned();
        move |reason| Error::File { path, reason }
    };
    let checkpoints = out.join("checkpoints");
    if checkpoints.exists() {
        fs::remove_dir_all(&checkpoints).map_err(file(&checkpoints))?;
    }
    fs::create_dir_all(out).map_err(file(out))
}
