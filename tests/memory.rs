//! What `plan` says about memory is what the engine counts, within 15 %.

mod common;

use common::recipe;
use context_recipe::Cpu;
use context_recipe::data::{Batch, Rng};
use context_recipe::engine::{Device as _, Engine, Mode};
use context_recipe::hub::Weights;
use context_recipe::plan::{
    Adapt, Attention, Form, Gates, Llama, Plan, Recipe, Stage, StageKind, StagePlan, Target, presets,
};
use context_recipe::train::{self, Place, Sequences};

struct Noise;

impl Sequences for Noise {
    fn sequence(&self, stage: &StagePlan, index: u64) -> Result<Batch, context_recipe::data::Error> {
        let mut rng = Rng::new(&[index]);
        Batch::sequence((0..stage.length).map(|_| rng.below(256) as u32).collect(), &[0])
    }
}

fn holds(model: Llama, adapt: Adapt, stage: Stage) {
    trains(&Recipe { adapt: Some(adapt), train: vec![stage], ..recipe(model) });
}

fn trains(recipe: &Recipe) {
    let plan: Plan = recipe.plan().unwrap();
    let mut engine = Engine::new(Cpu::new(), &plan, &Weights::new(), 0, Mode::training(&plan)).unwrap();
    train::step(&mut engine, &plan.stages[0], &Place::default(), &Noise).unwrap();
    close(&plan, &engine);
}

fn close(plan: &Plan, engine: &Engine<Cpu>) {
    let (planned, counted) = (plan.memory(), engine.device().memory().1);
    let ratio = planned.total as f64 / counted as f64;
    assert!((ratio - 1.0).abs() <= 0.15, "planned {} ({planned}), counted {counted}: {ratio}", planned.total);
}

fn stage(length: usize, batch: usize, recompute: bool) -> Stage {
    Stage { steps: Some(1), length: Some(length), batch: Some(batch), recompute: Some(recompute), ..Stage::default() }
}

fn lora(quantized: bool) -> Adapt {
    let targets = Some(vec![Target::Q, Target::V, Target::Down]);
    Adapt::Lora {
        rank: 8,
        alpha: None,
        targets,
        embed: quantized,
        norm: quantized,
        quantized,
        rslora: false,
        dropout: None,
    }
}

/// Wider than `tiny`, with grouped heads and an own head.
fn other() -> Llama {
    Llama {
        layers: 3,
        hidden: 256,
        heads: 8,
        kv_heads: 2,
        head_dim: 32,
        ffn: 640,
        vocab: 4000,
        tied: false,
        qkv_bias: false,
        qk_norm: false,
        window: 0,
        ..presets::named("tiny").unwrap()
    }
}

#[test]
fn everything_learns() {
    holds(presets::named("tiny").unwrap(), Adapt::Full, stage(256, 4, true));
    holds(other(), Adapt::Full, stage(128, 2, true));
}

#[test]
fn biases_and_norms_of_heads() {
    for own in [Llama { qkv_bias: true, ..other() }, Llama { qk_norm: true, ..other() }] {
        holds(own.clone(), Adapt::Full, stage(128, 2, true));
        holds(own.clone(), lora(false), stage(128, 2, false));
        holds(own, lora(true), stage(256, 4, true));
    }
}

#[test]
fn adapters_learn() {
    holds(other(), lora(false), stage(256, 3, true));
}

#[test]
fn inputs_that_are_left_out() {
    let mut adapt = lora(false);
    if let Adapt::Lora { dropout, .. } = &mut adapt {
        *dropout = Some(0.1);
    }
    holds(other(), adapt, stage(256, 3, true));
}

#[test]
fn a_quantized_base() {
    holds(other(), lora(true), stage(256, 16, true));
}

#[test]
fn activations_are_kept() {
    holds(presets::named("tiny").unwrap(), Adapt::Full, stage(256, 2, false));
    holds(other(), lora(false), stage(64, 5, false));
}

#[test]
fn many_sequences_are_several_passes() {
    holds(presets::named("tiny").unwrap(), lora(false), stage(256, 40, true));
}

/// A recipe without stages is scored.
#[test]
fn reading_in_one_pass() {
    let plan = recipe(other()).plan().unwrap();
    let mut engine = Engine::new(Cpu::new(), &plan, &Weights::new(), 0, Mode::Infer).unwrap();
    let tokens = (0..plan.target).map(|index| (index % 97) as u32).collect();
    engine.score(&Batch::sequence(tokens, &[0]).unwrap()).unwrap();
    close(&plan, &engine);
}

#[test]
fn attention_at_other_positions() {
    let attention = Some(Attention::DualChunk { chunk: None, local: None, form: None });
    let reading = Recipe { attention, ..recipe(other()) };
    let training = Recipe { train: vec![stage(256, 2, true)], adapt: Some(lora(false)), ..reading.clone() };
    trains(&training);
    let plan = reading.plan().unwrap();
    let mut engine = Engine::new(Cpu::new(), &plan, &Weights::new(), 0, Mode::Infer).unwrap();
    let tokens = (0..plan.target).map(|index| (index % 97) as u32).collect();
    engine.score(&Batch::sequence(tokens, &[0]).unwrap()).unwrap();
    close(&plan, &engine);
}

/// Weights have neither gradients nor moments, and there are no logits.
#[test]
fn gates_learn_alone() {
    for (form, adapt) in [(Form::Paper, None), (Form::Code, None), (Form::Paper, Some(lora(true)))] {
        let attention = Some(Attention::Duo { gates: Gates::Learned, sparsity: None, sink: None, recent: None });
        let gates = Stage {
            kind: StageKind::Gates,
            sink: Some(2),
            recent: Some(16),
            form: Some(form),
            recompute: None,
            ..stage(256, 2, true)
        };
        let recipe = Recipe { attention, adapt, train: vec![gates], ..recipe(other()) };
        let plan = recipe.plan().unwrap();
        assert_eq!(
            plan.memory().terms.iter().filter(|term| ["gradients", "optimizer"].contains(&&*term.name)).count(),
            0
        );
        trains(&recipe);
    }
}
