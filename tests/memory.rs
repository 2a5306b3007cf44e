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
        trains_on_a_gpu(&plan);
    }
}

/// With dQ added up as it comes, and in one order.
fn trains_on_a_gpu(plan: &Plan) {
    for deterministic in [false, true] {
        let plan = Plan { device: plan::Device::Cuda { memory: u64::MAX, deterministic }, ..plan.clone() };
        close(&plan, &one_step(&plan, emulation::idle().deterministic(deterministic)));
    }
}

fn one_step<D: Device>(plan: &Plan, device: D) -> Engine<D> {
    let mut engine = Engine::new(device, plan, &Weights::new(), 0, Mode::training(plan)).unwrap();
    train::step(&mut engine, &plan.stages[0], &Place::default(), &Noise).unwrap();
    engine
}

fn on_a_gpu(plan: &Plan) -> Plan {
    Plan { device: plan::Device::cuda(u64::MAX), ..plan.clone() }
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

/// Without memory for any one of a run's allocations the error says how much is missing, and the folder holds whole checkpoints or
/// none.
#[test]
fn a_run_without_memory_leaves_whole_checkpoints() {
    let small = Llama { layers: 2, hidden: 32, heads: 2, kv_heads: 2, head_dim: 16, ffn: 64, vocab: 256, ..other() };
    let short = Stage { steps: Some(2), ..stage(64, 2, true) };
    let recipe = Recipe { adapt: Some(lora(true)), train: vec![short], ..recipe(small) };
    let plan = on_a_gpu(&recipe.plan().unwrap());
    let folder = std::env::temp_dir().join(format!("context-recipe-memory-{}", std::process::id()));
    let origin = train::Origin::default();
    let (mut allocation, mut kept) = (0, [0; 2]);
    loop {
        allocation += 1;
        let _ = std::fs::remove_dir_all(&folder);
        let keeping = train::Keeping { out: &folder, every: 1, keep: 9, stop: || false };
        let device = emulation::idle_failing_at(allocation);
        let ran = Engine::new(device, &plan, &Weights::new(), 0, Mode::Train).map_err(train::Error::from);
        let ran = ran.and_then(|mut engine| {
            train::run(&mut engine, &plan, &Noise, &origin, keeping, &Weights::new(), &mut |_| ())
        });
        let mut again = Engine::new(emulation::idle(), &plan, &Weights::new(), 0, Mode::Train).unwrap();
        let resumed = train::Checkpoints::new(&folder, 9).resume(&mut again, &origin).expect("a whole one, or none");
        kept[usize::from(resumed.is_some())] += 1;
        let Err(error) = ran else { break };
        let words = error.to_string();
        assert!(words.contains("out of memory") && words.contains(" missing"), "{allocation}: {words}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(allocation > 50 && kept[0] > 50, "{allocation} allocations, {kept:?}");
}

/// The limit of a recipe, in the recipe's words.
#[test]
fn too_little_memory_says_what_to_write() {
    let [plan, again] = [false, true].map(|recompute| {
        Recipe { adapt: Some(lora(false)), train: vec![stage(256, 16, recompute)], ..recipe(other()) }.plan().unwrap()
    });
    let limit = (plan.memory().total + again.memory().total) / 2;
    let mut engine = Engine::new(Cpu::with_limit(limit), &plan, &Weights::new(), 0, Mode::Train).unwrap();
    let error = train::step(&mut engine, &plan.stages[0], &Place::default(), &Noise).unwrap_err().to_string();
    assert!(error.contains(" are missing: write `recompute = every` ("), "{error}");
}

/// The longest sequences on one GPU of 80 GB, in docs/memory.md; `UPDATE_DOCS=1` writes it.
#[test]
fn the_longest_sequences_are_in_the_guide() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/memory.md");
    let mut text = "# The longest sequences on one GPU of 80 GB\n\nTraining by QLoRA of rank 32 beside embedding and norms, a third \
        of the layers full and the others with a window of 4096 tokens and 4 sinks, as the plan of each model counts it; \
        `plan` prints this number for any recipe that names a device with its memory. With `offload = true` layer inputs wait in the host's memory.\n\n\
        | model | layer inputs on the GPU | `offload = true` | then pinned on the host |\n|---|--:|--:|--:|\n"
        .to_owned();
    for name in presets::NAMES {
        let plan = hybrid_qlora(presets::named(name).unwrap());
        let [near, far] = [false, true].map(|offload| {
            let mut plan = plan.clone();
            plan.stages.to_mut()[0].offload = offload;
            let longest = plan.longest().unwrap();
            plan.stages.to_mut()[0].length = longest;
            (longest, plan.memory().host)
        });
        if name == "llama2_7b" {
            assert!(near.0 >= 128 << 10, "128K of Llama-2 7B on 80 GB");
        }
        let (k, host) = (|length: usize| format!("{}K", length >> 10), plan::readable_bytes(far.1));
        text += &format!("| `{name}` | {} | {} | {host} |\n", k(near.0), k(far.0));
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), text, "UPDATE_DOCS=1 writes it");
}

fn hybrid_qlora(model: Llama) -> Plan {
    let (layers, full) = (model.layers, model.layers.div_ceil(3));
    let adapt = Adapt::Lora {
        rank: 32,
        alpha: None,
        targets: None,
        embed: true,
        norm: true,
        quantized: true,
        rslora: false,
        dropout: None,
    };
    let recipe = Recipe {
        adapt: Some(adapt),
        train: vec![stage(model.context, 1, true)],
        device: Some(plan::Device::Cuda { memory: 80_000_000_000, deterministic: false }),
        ..recipe(model)
    };
    let window = plan::Pattern::Window { window: 4096, sink: 4 };
    let layers: Vec<plan::Pattern> =
        (0..layers).map(|layer| if layer < full { plan::Pattern::Full } else { window }).collect();
    Plan { layers: layers.into(), ..recipe.plan().unwrap() }
}
