//! What `plan` says about memory is what the engine counts: within 15 % on the CPU, within 5 % on a GPU, where a device that does
//! nothing but count stands for one.

mod common;

use common::recipe;
use context_recipe::Cpu;
use context_recipe::data::{Batch, Rng};
use context_recipe::engine::{Device, Engine, Mode};
use context_recipe::hub::Weights;
use context_recipe::plan::{
    self, Adapt, Attention, Form, Gates, Llama, Optimizer, Plan, Recipe, Stage, StageKind, StagePlan, Target, presets,
};
use context_recipe::train::{self, Place, Sequences};
use kernels::cuda::emulation;

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
    for tile in [plan.tile, 100] {
        let plan = Plan { tile, ..plan.clone() };
        close(&plan, &one_step(&plan, Cpu::new()));
        let plan = on_a_gpu(&plan);
        close(&plan, &one_step(&plan, emulation::idle()));
    }
}

fn one_step<D: Device>(plan: &Plan, device: D) -> Engine<D> {
    let mut engine = Engine::new(device, plan, &Weights::new(), 0, Mode::training(plan)).unwrap();
    train::step(&mut engine, &plan.stages[0], &Place::default(), &Noise).unwrap();
    engine
}

fn on_a_gpu(plan: &Plan) -> Plan {
    Plan { device: plan::Device::Cuda { memory: u64::MAX }, ..plan.clone() }
}

fn close<D: Device>(plan: &Plan, engine: &Engine<D>) {
    let (memory, counted) = (plan.memory(), engine.device().memory().1);
    let reserved = memory.terms.iter().filter(|term| &*term.name == "reserved").map(|term| term.bytes).sum::<u64>();
    let (planned, most) = (memory.total - reserved, if reserved > 0 { 0.05 } else { 0.15 });
    let ratio = planned as f64 / counted as f64;
    println!("{ratio:.4}: {memory}");
    assert!((ratio - 1.0).abs() <= most, "planned {planned} ({memory}), counted {counted}: {ratio}");
}

fn reads(plan: &Plan) {
    let tokens: Vec<u32> = (0..plan.target).map(|index| (index % 97) as u32).collect();
    let batch = Batch::sequence(tokens, &[0]).unwrap();
    let mut engine = Engine::new(Cpu::new(), plan, &Weights::new(), 0, Mode::Infer).unwrap();
    engine.score(&batch).unwrap();
    close(plan, &engine);
    let plan = on_a_gpu(plan);
    let mut engine = Engine::new(emulation::idle(), &plan, &Weights::new(), 0, Mode::Infer).unwrap();
    engine.score(&batch).unwrap();
    close(&plan, &engine);
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

/// Moments in 8 bits, and in f32 where tensors are small; the optimiser's own share is exact.
#[test]
fn moments_in_eight_bits() {
    for (model, adapt) in
        [(other(), Adapt::Full), (other(), lora(false)), (Llama { qkv_bias: true, ..other() }, lora(true))]
    {
        let recipe = Recipe { adapt: Some(adapt), train: vec![stage(64, 1, true)], ..recipe(model) };
        let [usual, packed] =
            [Optimizer::AdamW, Optimizer::AdamW8bit].map(|optimizer| recipe.clone().optimizer(optimizer));
        trains(&packed);
        let [usual, packed] = [usual, packed].map(|recipe| recipe.plan().unwrap());
        let counted = |plan: &Plan| {
            let engine = Engine::new(Cpu::new(), plan, &Weights::new(), 0, Mode::Train).unwrap();
            engine.device().memory().0
        };
        let planned = |plan: &Plan| plan.memory().terms.iter().find(|term| term.name == "optimizer").unwrap().bytes;
        assert!(planned(&packed) < planned(&usual));
        assert_eq!(counted(&usual) - counted(&packed), planned(&usual) - planned(&packed));
    }
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
    reads(&recipe(other()).plan().unwrap());
}

#[test]
fn attention_at_other_positions() {
    let attention = Some(Attention::DualChunk { chunk: None, local: None, form: None });
    let reading = Recipe { attention, ..recipe(other()) };
    let training = Recipe { train: vec![stage(256, 2, true)], adapt: Some(lora(false)), ..reading.clone() };
    trains(&training);
    reads(&reading.plan().unwrap());
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

/// A sequence of 32K tokens through layers that see a window and one that sees all, on a GPU.
#[test]
fn a_long_sequence_on_a_gpu() {
    let attention = Attention::hybrid(plan::FullLayers::Share(1.0 / 3.0), plan::Sparse::window(1024, 4));
    let context = plan::Context { native: Some(256), target: 32 << 10 };
    let rope = Some(plan::Rope::interpolate(128.0));
    let recipe = Recipe {
        attention: Some(attention),
        context,
        rope,
        adapt: Some(lora(true)),
        train: vec![stage(32 << 10, 1, true)],
        ..recipe(other())
    };
    let mut plan = on_a_gpu(&recipe.plan().unwrap());
    close(&plan, &one_step(&plan, emulation::idle()));
    assert_eq!(plan.memory().host, 0);
    plan.stages.to_mut()[0].offload = true;
    let engine = one_step(&plan, emulation::idle());
    close(&plan, &engine);
    // Of three layers the first one's input leaves.
    assert_eq!((engine.device().memory_away(), plan.memory().host), (2 * 256 * (32 << 10), 2 * 256 * (32 << 10)));
}
