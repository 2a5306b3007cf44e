//! The engine on a GPU against the same engine on the CPU. The GPU is a child process that runs the kernels' own text, compiled by a
//! C++ compiler, with threads in a drawn order.
//!
//! Tolerance: 2-norm of the difference over that of the CPU's tensor. The CPU computes in f32; here every stored number is bf16,
//! half an ulp of which is 2⁻⁹, and a gradient has gone through some seventy stored tensors (a dozen for each of three layers, there
//! and back). Independent errors of 2⁻⁹ ÷ √3 would add up to √70 · 0.0011 = 1 %; products with the same rounded weights are not
//! independent. Logits may be off by 2 %, gradients by 5 % (3.6 % is the most seen, of a head's norm), a mean loss by 0.5 %: a wrong mask, scale or border is off by far more.

mod common;

use common::{batch, plan_with, recipe, reference, tiny_llama, weights};
use context_recipe::data::{Batch, Rng};
use context_recipe::engine::{Device, Engine, Mode, Sampling};
use context_recipe::hub::Weights;
use context_recipe::plan::{
    self, Adapt, Attention, Form, Gates, Llama, Optimizer, Pattern, Plan, Recipe, Stage, StageKind, StagePlan, Target,
};
use context_recipe::train::{self, Checkpoints, Origin, Place, Sequences};
use context_recipe::{Cpu, gpu};
use kernels::cuda::emulation;

const LOGITS: f64 = 0.02;
const GRADIENT: f64 = 0.05;
const LOSS: f64 = 0.005;

const FULL: Pattern = Pattern::Full;
const WINDOW: Pattern = Pattern::Window { window: 8, sink: 2 };

#[track_caller]
fn close(what: &str, ours: &[f32], theirs: &[f32], most: f64) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    let apart = norm(&mut ours.iter().zip(theirs).map(|(a, b)| f64::from(*a) - f64::from(*b)));
    let error = apart / norm(&mut theirs.iter().map(|&value| f64::from(value)));
    println!("{what}: {error:.5}");
    assert!(error <= most, "{what} is off by {error}, {most} is allowed");
}

#[track_caller]
fn all_close(what: &str, ours: &Weights, theirs: &Weights, most: f64) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    for (name, tensor) in theirs.iter().filter(|(_, tensor)| tensor.data.iter().any(|&value| value != 0.0)) {
        close(&format!("{what} of {name}"), &ours.get(name).expect("the same names").data, &tensor.data, most);
    }
}

/// Runs `check` on an emulated GPU and on the CPU; nothing where no C++ compiler is. The GPU is of compute capability 9.0, where heads
/// have the 64 numbers that its own kernels take.
fn both(plan: &Plan, weights: &Weights, mode: Mode, check: impl FnOnce(Engine<emulation::Device>, Engine<Cpu>)) {
    let Some(gpu) = emulation::device_of(1, plan.model.head_dim == 64) else { return };
    let gpu = Engine::new(gpu, plan, weights, 3, mode).expect("an engine on the GPU");
    check(gpu, Engine::new(Cpu::new(), plan, weights, 3, mode).expect("an engine on the CPU"));
}

fn mean(values: &[f32]) -> f64 {
    values.iter().map(|&value| f64::from(value)).sum::<f64>() / values.len() as f64
}

/// Logits, loss and every gradient.
fn agrees(what: &str, plan: &Plan, weights: &Weights, batch: &Batch, recompute: bool) {
    both(plan, weights, Mode::Train, |mut gpu, mut cpu| {
        close(&format!("{what}: logits"), &gpu.logits(batch).unwrap(), &cpu.logits(batch).unwrap(), LOGITS);
        let scale = 1.0 / batch.len() as f32;
        let [ours, theirs] =
            [gpu.learn(batch, scale, recompute).unwrap().nll, cpu.learn(batch, scale, recompute).unwrap().nll];
        let (ours, theirs) = (mean(&ours), mean(&theirs));
        assert!((ours / theirs - 1.0).abs() <= LOSS, "{what}: a loss of {ours} instead of {theirs}");
        all_close(&format!("{what}: the gradient"), &gpu.gradients(), &cpu.gradients(), GRADIENT);
        assert!((gpu.gradient_norm() / cpu.gradient_norm() - 1.0).abs() <= LOSS, "{what}: the gradients' norm");
    });
}

fn fixture(tag: &str, layers: [Pattern; 3], recompute: bool) {
    let file = reference();
    agrees(tag, &plan_with(layers.to_vec()), &weights(&file), &batch(&file, tag), recompute);
}

#[test]
fn full_attention() {
    fixture("full", [FULL; 3], true);
}

#[test]
fn windows_and_sinks_and_full_layers() {
    fixture("hybrid", [WINDOW, FULL, WINDOW], true);
    fixture("hybrid", [WINDOW, FULL, WINDOW], false);
}

/// An MLP goes over tiles, the last of which is short.
#[test]
fn tiles_of_rows() {
    let plan = Plan { tile: 16, ..plan_with(vec![WINDOW, FULL, WINDOW]) };
    agrees("tiles", &plan, &weights(&reference()), &text(40, 97), true);
}

#[test]
fn strides_and_groups() {
    fixture("strided", [Pattern::Strided { block: 4, stride: 3, local: 2 }; 3], true);
    fixture("shifted_groups", [Pattern::ShiftedGroups { size: 12 }; 3], true);
}

#[test]
fn heads_that_differ() {
    fixture("duo", [Pattern::Duo { retrieval: 0b01, kv_heads: 2, window: 8, sink: 2 }; 3], true);
}

#[test]
fn positions_that_skip_and_documents() {
    fixture("skip", [FULL; 3], true);
    fixture("documents", [WINDOW, FULL, WINDOW], true);
}

/// Warpgroups: more than a tile of tokens, heads that share keys, a border between documents.
#[test]
fn compute_capability_9() {
    let model = Llama { heads: 2, kv_heads: 1, head_dim: 64, context: 256, ..tiny_llama() };
    let plan = Plan { layers: vec![WINDOW, FULL, WINDOW].into(), ..recipe(model).plan().unwrap() };
    let documents = Batch::sequence(text(200, 97).tokens, &[0, 90]).expect("a batch");
    agrees("compute capability 9.0", &plan, &Weights::new(), &documents, true);
}

/// A text of one document.
fn text(len: usize, vocab: usize) -> Batch {
    let mut rng = Rng::new(&[len as u64]);
    Batch::sequence((0..len).map(|_| rng.below(vocab) as u32).collect(), &[0]).expect("a batch")
}

#[test]
fn biases_and_norms_of_heads() {
    for model in [Llama { qkv_bias: true, ..tiny_llama() }, Llama { qk_norm: true, tied: true, ..tiny_llama() }] {
        let plan = recipe(model).plan().unwrap();
        agrees("a Qwen", &plan, &Weights::new(), &text(40, 97), true);
    }
}

/// Parts at other positions than their own, joined by their log-sum-exp.
#[test]
fn attention_at_other_positions() {
    for attention in [
        Attention::DualChunk { chunk: Some(24), local: Some(8), form: None },
        Attention::SelfExtend { group: 4, window: 16 },
    ] {
        let context = plan::Context { native: Some(64), target: 128 };
        let plan = Recipe { attention: Some(attention), context, ..recipe(tiny_llama()) }.plan().unwrap();
        agrees("parts", &plan, &Weights::new(), &text(100, 97), true);
    }
}

struct Noise;

impl Sequences for Noise {
    fn sequence(&self, stage: &StagePlan, index: u64) -> Result<Batch, context_recipe::data::Error> {
        let mut rng = Rng::new(&[index]);
        Batch::sequence((0..stage.length).map(|_| rng.below(97) as u32).collect(), &[0])
    }
}

fn stage() -> Stage {
    Stage { steps: Some(3), length: Some(64), batch: Some(2), lr: Some(1e-3), ..Stage::default() }
}

fn lora(quantized: bool, dropout: Option<f64>) -> Adapt {
    let targets = Some(vec![Target::Q, Target::K, Target::V, Target::O, Target::Down]);
    Adapt::Lora { rank: 4, alpha: Some(8.0), targets, embed: true, norm: true, quantized, rslora: false, dropout }
}

/// Three steps, held step by step, and what they changed. AdamW's first steps are little more than signs: where a gradient is near
/// zero, as those of LoRA's A are as long as B is, a rounding turns a number's step around. So a tensor's change may be off by a
/// half, and all of them together by a fifth; a step that is missing is off by 1, one the wrong way by 2.
fn trains(adapt: Adapt, optimizer: Optimizer) {
    let recipe = Recipe { adapt: Some(adapt), train: vec![stage()], ..recipe(tiny_llama()) };
    let plan = recipe.optimizer(optimizer).plan().unwrap();
    // Two sequences of 64 tokens are three tiles.
    let plan = Plan { layers: vec![WINDOW, FULL, WINDOW].into(), tile: 48, ..plan };
    both(&plan, &weights(&reference()), Mode::Train, |mut gpu, mut cpu| {
        let before = cpu.trained();
        assert_eq!(before, gpu.trained(), "masters are f32");
        let mut place = Place::default();
        for step in 0..3 {
            let ours = train::step(&mut gpu, &plan.stages[0], &place, &Noise).unwrap();
            let theirs = train::step(&mut cpu, &plan.stages[0], &place, &Noise).unwrap();
            assert!((ours.loss / theirs.loss - 1.0).abs() <= LOSS, "step {step}: {} or {}", ours.loss, theirs.loss);
            assert!((ours.grad_norm / theirs.grad_norm - 1.0).abs() <= GRADIENT, "step {step}");
            place = Place { step: step + 1, updates: step + 1, total_steps: step + 1, ..place };
        }
        let moved = |after: Weights| -> Weights {
            let change = |(name, mut tensor): (String, context_recipe::hub::Tensor)| {
                let old = &before.get(&name).expect("the same names").data;
                tensor.data.iter_mut().zip(old).for_each(|(new, old)| *new -= old);
                (name, tensor)
            };
            after.into_iter().map(change).collect()
        };
        let [ours, theirs] = [moved(gpu.trained()), moved(cpu.trained())];
        all_close("the change", &ours, &theirs, 0.5);
        let all = |weights: &Weights| weights.iter().flat_map(|(_, tensor)| tensor.data.clone()).collect::<Vec<_>>();
        close("all changes", &all(&ours), &all(&theirs), 0.2);
    });
}

#[test]
fn everything_learns() {
    trains(Adapt::Full, Optimizer::AdamW);
}

#[test]
fn everything_learns_with_moments_of_eight_bits() {
    trains(Adapt::Full, Optimizer::AdamW8bit);
}

#[test]
fn adapters_on_a_base_in_four_bits() {
    trains(lora(true, None), Optimizer::AdamW);
}

#[test]
fn adapters_that_do_not_see_all() {
    trains(lora(false, Some(0.2)), Optimizer::AdamW);
}

fn gates_plan(form: Form) -> Plan {
    let attention = Some(Attention::Duo { gates: Gates::Learned, sparsity: None, sink: None, recent: None });
    let stage = Stage { kind: StageKind::Gates, sink: Some(2), recent: Some(16), form: Some(form), ..stage() };
    Recipe { attention, train: vec![stage], ..recipe(tiny_llama()) }.plan().unwrap()
}

#[test]
fn gates_learn() {
    for form in [Form::Paper, Form::Code] {
        let plan = gates_plan(form);
        both(&plan, &weights(&reference()), Mode::Gates, |mut gpu, mut cpu| {
            let (batch, learns) = (text(64, 97), plan.stages[0].learns);
            let half: Weights = cpu
                .trained()
                .into_iter()
                .map(|(name, mut tensor)| {
                    tensor.data.fill(0.5);
                    (name, tensor)
                })
                .collect();
            let zeros = cpu.moments();
            gpu.restore(&half, &zeros).unwrap();
            cpu.restore(&half, &zeros).unwrap();
            let [ours, theirs] =
                [gpu.learn_gates(&batch, learns, 1.0).unwrap(), cpu.learn_gates(&batch, learns, 1.0).unwrap()];
            close("the distances", &ours, &theirs, GRADIENT);
            all_close("the gradient", &gpu.gradients(), &cpu.gradients(), GRADIENT);
        });
    }
}

/// Read piece by piece through the cache, the last logits are those of one pass; far rows, streaming heads and late rotation too.
#[test]
fn a_cache_holds_what_is_seen() {
    let duo = Pattern::Duo { retrieval: 0b10, kv_heads: 2, window: 8, sink: 2 };
    for layers in [[WINDOW, FULL, WINDOW], [duo; 3], [Pattern::Strided { block: 4, stride: 3, local: 2 }; 3]] {
        let plan = plan_with(layers.to_vec());
        both(&plan, &weights(&reference()), Mode::Infer, |mut gpu, mut cpu| {
            let tokens = text(61, 97).tokens;
            let mut cache = gpu.cache(70).unwrap();
            for piece in [&tokens[..20], &tokens[20..52], &tokens[52..60], &tokens[60..]] {
                gpu.prefill(&mut cache, piece).unwrap();
            }
            let logits = cpu.logits(&Batch::sequence(tokens.clone(), &[0]).unwrap()).unwrap();
            close("the last logits", &gpu.next_logits(&mut cache).unwrap(), &logits[60 * 97..], LOGITS);
            let written = gpu.generate(&tokens, Sampling::greedy(), 5, &|_| false, &mut |_| ()).unwrap();
            assert_eq!(written.tokens.len(), 5);
        });
    }
}

/// On a device that is asked to, what a checkpoint holds brings an engine back to the same bits, and the same step gives the same
/// bits.
#[test]
fn a_step_can_be_taken_again() {
    for optimizer in [Optimizer::AdamW, Optimizer::AdamW8bit] {
        again(optimizer);
    }
}

fn again(optimizer: Optimizer) {
    let recipe = Recipe { adapt: Some(lora(true, None)), train: vec![stage()], ..recipe(tiny_llama()) };
    let plan = recipe.optimizer(optimizer).plan().unwrap();
    let weights = weights(&reference());
    let Some((first, second)) = emulation::device(1).zip(emulation::device(2)) else { return };
    let engine =
        |gpu: emulation::Device| Engine::new(gpu.deterministic(true), &plan, &weights, 3, Mode::Train).unwrap();
    let [mut first, mut second] = [first, second].map(engine);
    let step = |engine: &mut Engine<_>, step| {
        let place = Place { step, updates: step, total_steps: step, ..Place::default() };
        train::step(engine, &plan.stages[0], &place, &Noise).unwrap();
    };
    step(&mut first, 0);
    let moments = first.moments();
    assert_eq!(moments.packed.is_empty(), optimizer == Optimizer::AdamW);
    second.restore(&first.trained(), &moments).unwrap();
    [&mut first, &mut second].into_iter().for_each(|engine| step(engine, 1));
    assert_eq!(first.trained(), second.trained());
    assert_eq!(first.moments(), second.moments());
    assert!(first.device().memory().1 > 0);
}

/// A run records what it ran on, and is told where it goes on on something else.
#[test]
fn a_checkpoint_says_what_wrote_it() {
    let plan = Recipe { train: vec![stage()], ..recipe(tiny_llama()) }.plan().unwrap();
    let origin = |device: &str| Origin { device: device.to_owned(), ..Origin::default() };
    both(&plan, &weights(&reference()), Mode::Train, |gpu, mut cpu| {
        let [theirs, ours] = [gpu.device().describe().unwrap(), cpu.device().describe().unwrap()];
        assert_eq!(theirs, "an emulated GPU, products by a plain kernel, attention by mma.sync");
        assert_eq!(ours, kernels::simd::Isa::best().name());
        let out = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::new(out.path(), 1);
        checkpoints.save(&gpu, &Place::default(), &origin(&theirs)).unwrap();
        let resumed = checkpoints.resume(&mut cpu, &origin(&ours)).unwrap().expect("a checkpoint");
        assert_eq!(resumed.other_device, Some(theirs));
        assert_eq!(cpu.trained(), gpu.trained());
    });
}

/// The kernels that training, gates, scoring and generation start are those that are listed for the model.
#[test]
fn every_kernel_is_listed() {
    let small = Llama { hidden: 128, head_dim: 32, ffn: 256, ..tiny_llama() };
    for model in [Llama { qkv_bias: true, ..small.clone() }, Llama { qk_norm: true, ..small }] {
        let listed: Vec<_> = gpu::sizes(&model).kernels().into_iter().map(|kernel| kernel.source).collect();
        let holds = |engine: &Engine<_>| {
            let engine: &Engine<kernels::device::Cuda<emulation::Idle, emulation::IdleCompiler, _>> = engine;
            let loaded = engine.device().runtime().loaded();
            let missing = loaded.into_iter().find(|source| !listed.contains(source));
            assert!(missing.is_none(), "{missing:?}");
        };
        for (adapt, optimizer) in [
            (Adapt::Full, Optimizer::AdamW),
            (lora(true, Some(0.1)), Optimizer::AdamW),
            (Adapt::Full, Optimizer::AdamW8bit),
        ] {
            let recipe = Recipe { adapt: Some(adapt), train: vec![stage()], ..recipe(model.clone()) };
            let recipe = recipe.optimizer(optimizer);
            let plan = Plan { layers: vec![WINDOW, FULL, WINDOW].into(), ..recipe.plan().unwrap() };
            let mut engine = Engine::new(emulation::idle(), &plan, &Weights::new(), 0, Mode::Train).unwrap();
            train::step(&mut engine, &plan.stages[0], &Place::default(), &Noise).unwrap();
            engine.generate(&[1, 2, 3], Sampling::greedy(), 2, &|_| false, &mut |_| ()).unwrap();
            assert!(engine.device().runtime().loaded().len() > 10);
            holds(&engine);
        }
        let attention = Some(Attention::Duo { gates: Gates::Learned, sparsity: None, sink: None, recent: None });
        let gates = Stage { kind: StageKind::Gates, sink: Some(2), recent: Some(16), ..stage() };
        let plan = Recipe { attention, train: vec![gates], ..recipe(model.clone()) }.plan().unwrap();
        let mut engine = Engine::new(emulation::idle(), &plan, &Weights::new(), 0, Mode::Gates).unwrap();
        train::step(&mut engine, &plan.stages[0], &Place::default(), &Noise).unwrap();
        holds(&engine);
    }
}

/// A matrix of 8 bits is the one that its blocks stand for.
#[test]
fn matrices_of_eight_bits() {
    let plan = plan_with(vec![FULL; 3]);
    both(&plan, &weights(&reference()), Mode::InferQ8_0, |mut gpu, mut cpu| {
        let batch = text(48, 97);
        close("8 bits: logits", &gpu.logits(&batch).unwrap(), &cpu.logits(&batch).unwrap(), LOGITS);
    });
}

/// Five layers, the inputs of three of which leave.
fn deep() -> Plan {
    let model = Llama { layers: 5, hidden: 32, heads: 2, kv_heads: 2, ffn: 32, vocab: 16, ..tiny_llama() };
    recipe(model).plan().unwrap()
}

/// Gradients of passes with inputs that leave, on streams beside each other, and how often these waited.
fn offloaded(lens: &[usize], late: usize, deaf: Option<usize>) -> Option<(Weights, usize)> {
    let gpu = emulation::device_beside(1, late, deaf)?.deterministic(true);
    let mut engine = Engine::new(gpu, &deep(), &Weights::new(), 3, Mode::Train).unwrap();
    engine.set_offload(true);
    let before = engine.device().runtime().driver().waits();
    for &len in lens {
        engine.learn(&text(len, 16), 1.0, true).unwrap();
    }
    let waits = engine.device().runtime().driver().waits() - before;
    Some((engine.gradients(), waits))
}

/// Inputs that leave come back as they were, whichever stream is late; and without any one of the waits between the streams the
/// gradients are others as soon as one of them is.
#[test]
fn layer_inputs_leave_and_come_back() {
    let Some(gpu) = emulation::device(1) else { return };
    let mut engine = Engine::new(gpu.deterministic(true), &deep(), &Weights::new(), 3, Mode::Train).unwrap();
    engine.learn(&text(16, 16), 1.0, true).unwrap();
    let first = engine.gradients();
    engine.learn(&text(8, 16), 1.0, true).unwrap();
    let right = engine.gradients();
    for late in [0, 1] {
        let (gradients, waits) = offloaded(&[16, 8], late, None).unwrap();
        assert!(gradients == right, "stream {late} is late");
        // Each of three inputs: before it leaves, before its place is taken, before it comes back, before it is read.
        assert_eq!(waits, 2 * 3 * 4);
    }
    for wait in 0..12 {
        let heard = |late| offloaded(&[16], late, Some(wait)).unwrap().0 == first;
        assert!(!(heard(0) && heard(1)), "nothing shows that wait {wait} is missing");
    }
}

/// One query against so many keys that they are cut into parts, the heads of a group side by side; heads of two patterns.
#[test]
fn one_query_and_many_keys() {
    use kernels::attention::{Pattern, Shape};
    fn outputs<D: kernels::device::Device>(device: &D) -> Vec<f32> {
        let shape = Shape { queries: 1, keys: 1100, heads: 8, kv_heads: 2, head_dim: 32 };
        let window = Pattern::Window { window: 700, sink: 5 };
        let patterns = [[Pattern::Full; 4], [window; 4]].concat();
        let job = kernels::device::Attention {
            shape,
            patterns: kernels::attention::Patterns::PerHead(&patterns),
            query_row: 1099,
            key_row: 0,
            scale: 0.2,
        };
        let rows = kernels::device::Rows {
            tokens: &[0],
            positions: &[1099],
            starts: &[100],
            targets: &[0],
            inv_freq: &[1.0; 16],
            attention_factor: 1.0,
        };
        let noise = |seed: u64, len: usize| -> Vec<f32> {
            let mut rng = Rng::new(&[seed]);
            (0..len).map(|_| rng.below(257) as f32 / 64.0 - 2.0).collect()
        };
        let batch = device.batch(&rows).unwrap();
        let [q, k, v] = [(1, 8 * 32), (2, 1100 * 64), (3, 1100 * 64)].map(|(seed, len)| noise(seed, len));
        let [q, k, v] = [q, k, v].map(|values| device.upload(&values).unwrap());
        let (mut out, mut lse) = (device.zeros(8 * 32).unwrap(), device.zeros_f32(8).unwrap());
        device.attention(&batch, &job, &q, &k, &v, &mut out, &mut lse);
        [device.download(&out, 8 * 32), device.download(&lse, 8)].concat()
    }
    let Some(gpu) = emulation::device(1) else { return };
    close("one query", &outputs(&gpu), &outputs(&kernels::device::Cpu::new()), LOGITS);
}
