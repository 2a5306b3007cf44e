//! Qwen2 (biases on q, k and v) and Qwen3 (norms on q and k) against PyTorch, in the engine and in the typed model.
//!
//! Errors are relative to a tensor's largest number: logits are held to 1e-4, gradients to 1e-3.

mod common;

use common::{batch, fixture, recipe, relative, weights};
use context_recipe::Cpu;
use context_recipe::data::Batch;
use context_recipe::engine::{Engine, Mode, Sampling};
use context_recipe::hub::{self, Checkpoint, Dtype, TensorFile, Weights};
use context_recipe::model::{Input, Llama as Typed, Lora, TypedModel, learn};
use context_recipe::plan::{Adapt, HfConfig, List, Llama, Pattern, Plan, Recipe, Scaling, Stage, Target};

type Qwen2 = Typed<3, 53, 24, 32, 16, 40, 0, false, context_recipe::model::Full, true>;
type Qwen3 = Typed<3, 53, 24, 32, 16, 40, 0, false, context_recipe::model::Full, false, 8>;
type Qwen2Lora = Typed<3, 53, 24, 32, 16, 40, 4, false, Lora<{ learn::Q | learn::V }, { learn::NORM }>, true>;
type Qwen3Lora = Typed<3, 53, 24, 32, 16, 40, 4, false, Lora<{ learn::Q | learn::V }, { learn::NORM }>, false, 8>;

/// The shape of `tiny_qwen2.safetensors`.
fn qwen2() -> Llama {
    Llama {
        layers: 3,
        hidden: 24,
        heads: 4,
        kv_heads: 2,
        head_dim: 8,
        ffn: 40,
        vocab: 53,
        context: 64,
        rope_theta: 1e4,
        rope_scaling: Scaling::Default,
        norm_eps: 1e-6,
        tied: false,
        qkv_bias: true,
        qk_norm: false,
        window: 0,
    }
}

/// The shape of `tiny_qwen3.safetensors`.
fn qwen3() -> Llama {
    Llama { qkv_bias: false, qk_norm: true, ..qwen2() }
}

fn reference(name: &str) -> (TensorFile, Batch, Weights) {
    let file = TensorFile::open(&fixture(&format!("{name}.safetensors"))).unwrap();
    let (batch, weights) = (batch(&file, "full"), weights(&file));
    (file, batch, weights)
}

fn plan(model: Llama, pattern: Pattern) -> Plan {
    let layers = List::Owned(vec![pattern; model.layers]);
    Plan { layers, ..recipe(model).plan().unwrap() }
}

fn typed<M: TypedModel>(plan: &Plan, weights: &Weights) -> M {
    M::from_weights(plan, &|name| weights.get(name).map(|t| (&t.shape[..], &t.data[..]))).unwrap()
}

/// Logits, loss and gradients of both models under one pattern.
struct Run {
    logits: Vec<f32>,
    loss: f32,
    gradients: Weights,
}

fn engine_run(plan: &Plan, weights: &Weights, batch: &Batch, recompute: bool) -> Run {
    let mut engine = Engine::new(Cpu::new(), plan, weights, 0, Mode::Train).unwrap();
    let logits = engine.logits(batch).unwrap();
    engine.clear_gradients();
    let scores = engine.learn(batch, 1.0 / batch.len() as f32, recompute).unwrap();
    let loss = scores.nll.iter().sum::<f32>() / batch.len() as f32;
    Run { logits, loss, gradients: engine.gradients() }
}

fn typed_run<M: TypedModel>(plan: &Plan, weights: &Weights, batch: &Batch) -> Run {
    let model: M = typed(plan, weights);
    let starts = batch.starts();
    let input =
        Input { tokens: &batch.tokens, positions: &batch.positions, starts: &starts, stretch: None, noise: None };
    let (loss, named) = model.loss_and_gradients(&input, &batch.targets).unwrap();
    let gradients = named.into_iter().map(|named| (named.name, hub::Tensor { shape: named.shape, data: named.data }));
    Run { logits: model.logits(&input).unwrap(), loss, gradients: gradients.collect() }
}

/// Holds `run` to logits, a loss and gradients by name.
fn agrees(what: &str, run: &Run, logits: &[f32], loss: f32, gradient: &dyn Fn(&str) -> Vec<f32>) {
    let error = relative(&run.logits, logits);
    assert!(error <= 1e-4, "{what}: logits differ by {error:e}");
    assert!((run.loss - loss).abs() <= 1e-4 * loss, "{what}: the loss is {} instead of {loss}", run.loss);
    let mut worst = 0f32;
    for (name, got) in run.gradients.iter() {
        let error = relative(&got.data, &gradient(name));
        assert!(error <= 1e-3, "{what}: the gradient of {name} differs by {error:e}");
        worst = worst.max(error);
    }
    println!("{what}: logits {error:.1e}, worst gradient {worst:.1e}");
}

fn equals_pytorch<M: TypedModel>(name: &str, model: Llama) {
    let (file, batch, weights) = reference(name);
    let expected = |name: &str| file.f32(&format!("full.{name}")).expect("a reference tensor").data;
    let plan = plan(model, Pattern::Full);
    let runs = [
        ("engine, recomputing", engine_run(&plan, &weights, &batch, true)),
        ("engine", engine_run(&plan, &weights, &batch, false)),
        ("typed model", typed_run::<M>(&plan, &weights, &batch)),
    ];
    for (what, run) in runs {
        assert_eq!(run.gradients.len(), weights.len(), "{what}");
        let gradient = |name: &str| expected(&format!("grad.{name}"));
        agrees(&format!("{name}, {what}"), &run, &expected("logits"), expected("loss")[0], &gradient);
    }
}

#[test]
fn qwen2_equals_pytorch() {
    equals_pytorch::<Qwen2>("tiny_qwen2", qwen2());
}

#[test]
fn qwen3_equals_pytorch() {
    equals_pytorch::<Qwen3>("tiny_qwen3", qwen3());
}

/// Without its own tensors the model is another: the tolerances above can tell.
#[test]
fn biases_and_norms_matter() {
    for (name, model, own) in [("tiny_qwen2", qwen2(), "q_proj.bias"), ("tiny_qwen3", qwen3(), "k_norm.weight")] {
        let (file, batch, mut weights) = reference(name);
        let own = format!("model.layers.1.self_attn.{own}");
        weights.get_mut(&own).unwrap().data[3] += 0.01;
        let mut engine = Engine::new(Cpu::new(), &plan(model, Pattern::Full), &weights, 0, Mode::Infer).unwrap();
        let logits = engine.logits(&batch).unwrap();
        assert!(relative(&logits, &file.f32("full.logits").unwrap().data) > 1e-4, "{name}");
    }
}

/// Norms stand before any turning, also where each part of a pattern turns q and k for itself.
#[test]
fn remapped_positions_agree_between_the_models() {
    for pattern in [Pattern::SelfExtend { group: 4, window: 8 }, Pattern::DualChunk { chunk: 12, farthest: 15 }] {
        let (_, batch, weights) = reference("tiny_qwen3");
        let plan = plan(qwen3(), pattern);
        let exact = typed_run::<Qwen3>(&plan, &weights, &batch);
        let gradient = |name: &str| exact.gradients.get(name).unwrap().data.clone();
        let run = engine_run(&plan, &weights, &batch, true);
        agrees(&format!("{pattern:?}"), &run, &exact.logits, exact.loss, &gradient);
    }
}

fn lora_plan(model: Llama) -> Plan {
    let targets = Some(vec![Target::Q, Target::V]);
    let adapt = Adapt::Lora {
        rank: 4,
        alpha: None,
        targets,
        embed: false,
        norm: true,
        quantized: true,
        rslora: false,
        dropout: None,
    };
    let train = vec![Stage { steps: Some(1), ..Stage::default() }];
    Recipe { adapt: Some(adapt), train, ..recipe(model) }.plan().unwrap()
}

/// Beside adapters biases are frozen and in full precision; the norms of q and k learn with the other norms.
fn beside_adapters<M: TypedModel>(name: &str, model: Llama, own: [&str; 2]) {
    let (_, batch, mut weights) = reference(name);
    let plan = lora_plan(model);
    let engine = Engine::new(Cpu::new(), &plan, &weights, 3, Mode::Infer).unwrap();
    for (name, tensor) in engine.values() {
        if name.contains(".lora_") {
            let data = (0..tensor.data.len()).map(|i| 0.05 * ((i * 7 % 11) as f32 / 5.0 - 1.0)).collect();
            weights.insert(name, hub::Tensor { data, ..tensor });
        }
    }
    let run = engine_run(&plan, &weights, &batch, true);
    let exact = typed_run::<M>(&plan, &weights, &batch);
    let learns = |name: &&str| name.contains(".lora_") || name.contains("norm");
    assert!(run.gradients.names().all(|name| learns(&name)));
    let own_learn = own.map(|own| run.gradients.names().any(|name| name.ends_with(own)));
    assert_eq!(own_learn, [own[0].contains("norm"); 2]);
    agrees(name, &run, &exact.logits, exact.loss, &|name| exact.gradients.get(name).unwrap().data.clone());
}

#[test]
fn adapters_on_qwen2() {
    beside_adapters::<Qwen2Lora>("tiny_qwen2", qwen2(), ["q_proj.bias", "v_proj.bias"]);
}

#[test]
fn adapters_on_qwen3() {
    beside_adapters::<Qwen3Lora>("tiny_qwen3", qwen3(), ["q_norm.weight", "k_norm.weight"]);
}

#[test]
fn text_through_a_cache_is_that_of_one_pass() {
    for (name, model) in [("tiny_qwen2", qwen2()), ("tiny_qwen3", qwen3())] {
        for pattern in
            [Pattern::Full, Pattern::Window { window: 8, sink: 2 }, Pattern::SelfExtend { group: 4, window: 8 }]
        {
            let (_, batch, weights) = reference(name);
            let plan = plan(model.clone(), pattern);
            let mut engine = Engine::new(Cpu::new(), &plan, &weights, 0, Mode::Infer).unwrap();
            let prompt = &batch.tokens[..20];
            let answer = engine.generate(prompt, Sampling::greedy(), 8, &|_| false, &mut |_| {}).unwrap().tokens;
            let mut text = prompt.to_vec();
            for &token in &answer {
                let logits = engine.logits(&Batch::sequence(text.clone(), &[0]).unwrap()).unwrap();
                let last = &logits[logits.len() - 53..];
                let best = (0..53).max_by(|&a, &b| last[a].total_cmp(&last[b])).unwrap();
                assert_eq!(token as usize, best, "{name}, {pattern:?}, after {}", text.len());
                text.push(token);
            }
        }
    }
}

#[test]
fn a_saved_qwen_reads_back() {
    for (name, model, architecture) in
        [("tiny_qwen2", qwen2(), "Qwen2ForCausalLM"), ("tiny_qwen3", qwen3(), "Qwen3ForCausalLM")]
    {
        let (_, _, weights) = reference(name);
        let plan = plan(model.clone(), Pattern::Full);
        let engine = Engine::new(Cpu::new(), &plan, &weights, 0, Mode::Infer).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("model");
        let options = hub::Options { dtype: Dtype::F32, ..hub::Options::default() };
        hub::write(&out, &HfConfig::of(&model), engine.merged().views(), &options).unwrap();
        let read = Checkpoint::open(&out).unwrap();
        assert_eq!(read.config.get("architectures").unwrap()[0], architecture);
        assert_eq!((read.model, read.weights.len()), (model, weights.len()));
        for (tensor, value) in weights.iter() {
            assert_eq!(read.weights.get(tensor), Some(value), "{tensor}");
        }
    }
}
