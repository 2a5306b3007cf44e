//! Learning gates: the engine's loss and gradients against a plain f64 Llama, and what they come to at their ends.

mod common;

use std::cell::Cell;
use std::path::Path;

use common::plain::{Gated, distance};
use common::{batch, recipe, reference, relative, tiny_llama, weights};
use context_recipe::Cpu;
use context_recipe::data::{Batch, IGNORE, Rng};
use context_recipe::engine::{Engine, GATES, Mode};
use context_recipe::hub::{Tensor, Weights};
use context_recipe::plan::{
    Adapt, Attention, Form, Gates, GatesPlan, Learns, Pattern, Plan, Recipe, Schedule, Stage, StageKind, StagePlan,
    Target,
};
use context_recipe::train::{self, Keeping, MetricsLog, Origin, Sequences};

const FORMS: [Form; 2] = [Form::Paper, Form::Code];
const RECENT: usize = 6;
const SINK: usize = 2;

/// `duo(gates = learned)` on the fixture's Llama, with stages before its gates.
fn learned(before: Vec<Stage>, gates: Stage, adapt: Option<Adapt>) -> Plan {
    let duo = Attention::Duo { gates: Gates::Learned, sparsity: Some(0.5), sink: Some(2), recent: Some(8) };
    let gates = Stage { kind: StageKind::Gates, sink: Some(SINK), recent: Some(RECENT), ..gates };
    let train = before.into_iter().chain([gates]).collect();
    let recipe = Recipe { attention: Some(duo), adapt, train, ..recipe(tiny_llama()) };
    recipe.plan().unwrap_or_else(|faults| panic!("{faults:#?}"))
}

fn only(form: Form) -> Plan {
    learned(vec![], Stage { steps: Some(4), length: Some(40), form: Some(form), ..Stage::default() }, None)
}

/// Gates of their own for each head, none at an end.
fn some_gates() -> Vec<f32> {
    (0..6).map(|gate| 0.1 + 0.15 * gate as f32).collect()
}

fn with_gates(plan: &Plan, weights: &Weights, gates: &[f32]) -> Engine<Cpu> {
    let mut engine = Engine::new(Cpu::new(), plan, weights, 0, Mode::training(plan)).unwrap();
    let mut trained = engine.trained();
    trained.insert(GATES, Tensor { shape: vec![3, 2], data: gates.to_vec() });
    let moments = engine.moments();
    engine.restore(&trained, &moments).unwrap();
    engine
}

/// The fixture's text, of which every third row counts.
fn labelled(tag: &str) -> Batch {
    let mut batch = batch(&reference(), tag);
    let rows = batch.targets.iter_mut().enumerate();
    rows.filter(|(row, _)| row % 3 != 1).for_each(|(_, target)| *target = IGNORE);
    batch
}

fn mean(distances: &[f32], batch: &Batch) -> f64 {
    distances.iter().map(|&distance| f64::from(distance)).sum::<f64>() / batch.counted() as f64
}

/// Loss and gradients of the gates at `gates`.
fn learn(plan: &Plan, batch: &Batch, gates: &[f32]) -> (f64, Vec<f32>) {
    let mut engine = with_gates(plan, &weights(&reference()), gates);
    engine.clear_gradients();
    let distances = engine.learn_gates(batch, plan.stages[0].learns, 1.0 / batch.counted() as f32).unwrap();
    (mean(&distances, batch), engine.gradients().get(GATES).unwrap().data.clone())
}

/// The derivative by central differences of the f64 loss, whose own error is far below that of f32.
#[test]
fn loss_and_gradients_are_those_of_a_plain_llama() {
    const STEP: f64 = 1e-4;
    let model = tiny_llama();
    for (form, tag) in
        [(Form::Paper, "full"), (Form::Code, "full"), (Form::Paper, "documents"), (Form::Code, "documents")]
    {
        let (plan, batch, gates) = (only(form), labelled(tag), some_gates());
        let (loss, found) = learn(&plan, &batch, &gates);
        let plain = Gated { model: &model, weights: &weights(&reference()), form, sink: SINK, recent: RECENT };
        let exact: Vec<f64> = gates.iter().map(|&gate| f64::from(gate)).collect();
        let at = |gate: usize, shift: f64| {
            let mut moved = exact.clone();
            moved[gate] += shift;
            distance(&plain, &batch, &moved)
        };
        let expected = distance(&plain, &batch, &exact);
        assert!((loss / expected - 1.0).abs() < 1e-4, "{form:?}, {tag}: {loss} instead of {expected}");
        let slopes: Vec<f32> =
            (0..gates.len()).map(|gate| ((at(gate, STEP) - at(gate, -STEP)) / (2.0 * STEP)) as f32).collect();
        let error = relative(&found, &slopes);
        assert!(error <= 1e-3, "{form:?}, {tag}: gradients differ by {error:e}: {found:?} instead of {slopes:?}");
    }
}

#[test]
fn open_gates_are_the_full_model() {
    for form in FORMS {
        let (plan, batch) = (only(form), labelled("full"));
        let (loss, gradients) = learn(&plan, &batch, &[1.0; 6]);
        assert_eq!(loss, 0.0, "{form:?}");
        assert!(gradients.iter().all(|gradient| *gradient == 0.0), "{form:?}: {gradients:?}");
    }
}

/// With an identity for a head, logits are the last hidden states.
#[test]
fn closed_gates_are_the_streaming_model() {
    let model = context_recipe::plan::Llama { vocab: 64, ..tiny_llama() };
    let mut own = weights(&reference());
    let embed = &own.get("model.embed_tokens.weight").unwrap().data[..64 * 64];
    own.insert("model.embed_tokens.weight", Tensor { shape: vec![64, 64], data: embed.to_vec() });
    let identity = (0..64 * 64).map(|at| if at / 64 == at % 64 { 1.0 } else { 0.0 }).collect();
    own.insert("lm_head.weight", Tensor { shape: vec![64, 64], data: identity });
    let mut batch = labelled("full");
    batch.tokens.iter_mut().for_each(|token| *token %= 64);
    batch.targets.iter_mut().filter(|target| **target != IGNORE).for_each(|target| *target %= 64);
    for form in FORMS {
        let plan = Plan { model: model.clone(), ..only(form) };
        let hidden = |pattern: Pattern| {
            let plan = Plan { layers: vec![pattern; 3].into(), gates: GatesPlan::Given, ..plan.clone() };
            Engine::new(Cpu::new(), &plan, &own, 0, Mode::Infer).unwrap().logits(&batch).unwrap()
        };
        let (full, stream) = (hidden(Pattern::Full), hidden(Pattern::Window { window: RECENT, sink: SINK }));
        let mut engine = with_gates(&plan, &own, &[0.0; 6]);
        engine.clear_gradients();
        let distances = engine.learn_gates(&batch, plan.stages[0].learns, 1.0).unwrap();
        let rows = full.chunks(64).zip(stream.chunks(64)).zip(&batch.targets);
        for (row, ((full, stream), target)) in rows.enumerate() {
            let apart = full.iter().zip(stream).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>() / 64.0;
            let expected = if *target == IGNORE { 0.0 } else { apart };
            let found = f64::from(distances[row]);
            assert!((found - expected).abs() <= 1e-4 * expected.max(1e-6), "row {row}: {found}, not {expected}");
        }
        assert!(distances.iter().sum::<f32>() > 0.0);
    }
}

#[test]
fn gates_that_are_put_in_run_like_gates_of_a_file() {
    let given: Vec<Vec<f64>> =
        some_gates().chunks(2).map(|heads| heads.iter().map(|&g| f64::from(g)).collect()).collect();
    let duo =
        Attention::Duo { gates: Gates::Given(given.clone()), sparsity: Some(0.5), sink: Some(2), recent: Some(8) };
    let at_compile_time = Recipe { attention: Some(duo), ..recipe(tiny_llama()) }.plan().unwrap();
    let learned = only(Form::Paper).with_gates(&given);
    assert_eq!(learned.layers, at_compile_time.layers);
    let batch = labelled("full");
    let logits = |plan: &Plan| {
        Engine::new(Cpu::new(), &plan.merged(), &weights(&reference()), 0, Mode::Infer).unwrap().logits(&batch).unwrap()
    };
    assert_eq!(logits(&learned), logits(&at_compile_time));
}

/// Random tokens, every fourth of which counts; the text ends when `fuse` sequences have been read.
struct Noise {
    fuse: Cell<u64>,
}

impl Sequences for Noise {
    fn sequence(&self, stage: &StagePlan, index: u64) -> Result<Batch, context_recipe::data::Error> {
        if self.fuse.get() == 0 {
            return Batch::sequence(vec![], &[1]);
        }
        self.fuse.set(self.fuse.get() - 1);
        let mut rng = Rng::new(&[stage.seed, index]);
        let mut batch = Batch::sequence((0..stage.length).map(|_| rng.below(97) as u32).collect(), &[0])?;
        batch.targets.iter_mut().enumerate().filter(|(row, _)| row % 4 != 0).for_each(|(_, target)| *target = IGNORE);
        Ok(batch)
    }
}

fn run(plan: &Plan, fuse: u64, out: &Path) -> Result<Weights, train::Error> {
    let base = weights(&reference());
    let mut engine = Engine::new(Cpu::new(), plan, &base, 5, Mode::training(plan)).unwrap();
    let (noise, keeping) = (Noise { fuse: Cell::new(fuse) }, Keeping { out, every: 1, keep: 2, stop: || false });
    train::run(&mut engine, plan, &noise, &Origin::default(), keeping, &base, &mut |_| {})?;
    Ok(engine.trained())
}

fn bits(weights: &Weights) -> Vec<(String, Vec<u32>)> {
    weights.iter().map(|(name, tensor)| (name.to_owned(), tensor.data.iter().map(|x| x.to_bits()).collect())).collect()
}

fn lora() -> Adapt {
    let targets = Some(vec![Target::Q, Target::V, Target::Down]);
    Adapt::Lora {
        rank: 4,
        alpha: None,
        targets,
        embed: false,
        norm: true,
        quantized: false,
        rslora: false,
        dropout: Some(0.1),
    }
}

/// Adapters learn in two steps, then gates in six of which the run dies in the middle, once before the first.
#[test]
fn a_resumed_run_is_the_same_run() {
    for form in FORMS {
        let extend = Stage { steps: Some(2), length: Some(32), lr: Some(1e-2), ..Stage::default() };
        let gates = Stage { steps: Some(6), length: Some(32), batch: Some(2), form: Some(form), ..Stage::default() };
        let plan = learned(vec![extend], gates, Some(lora()));
        let straight = tempfile::tempdir().unwrap();
        let whole = run(&plan, u64::MAX, straight.path()).unwrap();
        assert!(whole.get(GATES).unwrap().data.iter().any(|gate| *gate < 0.95));
        // Sequences of the steps: 1, 1, then 2 each.
        for fuse in [2, 7] {
            let broken = tempfile::tempdir().unwrap();
            assert!(run(&plan, fuse, broken.path()).is_err());
            assert_eq!(bits(&run(&plan, u64::MAX, broken.path()).unwrap()), bits(&whole), "{form:?}, {fuse} sequences");
            let losses = |out: &Path| -> Vec<u64> {
                let lines = MetricsLog::read(&out.join("metrics.jsonl")).unwrap();
                lines.iter().map(|line| line.loss.to_bits()).collect()
            };
            assert_eq!(losses(straight.path()), losses(broken.path()));
        }
    }
}

#[test]
fn weights_stay_while_gates_learn() {
    let stage = Stage { steps: Some(3), length: Some(32), ..Stage::default() };
    let extend = Stage { lr: Some(1e-2), ..stage.clone() };
    let (with, without) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let both = run(&learned(vec![extend.clone()], stage, Some(lora())), u64::MAX, with.path()).unwrap();
    let alone = Recipe { adapt: Some(lora()), train: vec![extend], ..recipe(tiny_llama()) }.plan().unwrap();
    let alone = run(&alone, u64::MAX, without.path()).unwrap();
    let weights = |found: Weights| bits(&found.into_iter().filter(|(name, _)| name != GATES).collect());
    assert_eq!(weights(both), weights(alone));
}

/// The first step's gradient is that of the price alone, and AdamW's first step is as long as its learning rate.
#[test]
fn gates_move_by_the_learning_rate_and_stay_in_range() {
    let stage = Stage {
        steps: Some(40),
        length: Some(32),
        lr: Some(0.05),
        warmup: Some(0),
        schedule: Some(Schedule::Constant),
        ..Stage::default()
    };
    let plan = learned(vec![], Stage { reg: Some(10.0), ..stage }, None);
    let out = tempfile::tempdir().unwrap();
    let gates = run(&plan, u64::MAX, out.path()).unwrap().get(GATES).unwrap().data.clone();
    assert!(gates.iter().all(|gate| gate.abs() <= 0.05), "a price of 10 closes every gate: {gates:?}");
    let metrics = MetricsLog::read(&out.path().join("metrics.jsonl")).unwrap();
    let means: Vec<f64> = metrics.iter().map(|line| line.gates.unwrap().mean).collect();
    assert!((means[0] - 1.0).abs() < 1e-6 && (means[1] - 0.95).abs() < 1e-4, "{means:?}");
    assert!(means.iter().all(|mean| (0.0..=1.0).contains(mean)) && metrics[0].loss == 0.0 && metrics[39].loss > 0.0);
    assert_eq!((metrics[0].gates.unwrap().open, metrics[39].gates.unwrap().open), (1.0, 0.0));
}

#[test]
fn an_engine_without_gates_says_so() {
    let plan = recipe(tiny_llama()).plan().unwrap();
    let mut engine = Engine::new(Cpu::new(), &plan, &weights(&reference()), 0, Mode::Train).unwrap();
    let learns = Learns::Gates { sink: 1, recent: 2, reg: 0.0, form: Form::Paper };
    let error = engine.learn_gates(&labelled("full"), learns, 1.0).unwrap_err().to_string();
    assert!(error.contains("duo(gates = learned)"), "{error}");
    assert!(engine.gates().is_none());
}
