//! A PEFT adapter on its base computes what PEFT computes.

mod common;

use common::{fixture, integers, plan_with, recipe, relative};
use context_recipe::data::{Batch, IGNORE};
use context_recipe::engine::{Engine, Mode};
use context_recipe::hub::{
    self, Adapter, AdapterConfig, Checkpoint, Dtype, Header, TensorFile, Tensors, write_adapter,
};
use context_recipe::plan::{Adapt, Pattern, Recipe, Stage, Target};
use context_recipe::train::weights_digest;
use kernels::device::Cpu;

/// Relative to the largest logit.
const LIMIT: f32 = 1e-4;

fn logits(model: &Header, file: &TensorFile) -> Vec<f32> {
    let tokens: Vec<u32> = integers(file, "input_ids").into_iter().map(|id| id as u32).collect();
    let (count, plan) = (tokens.len(), plan_with(vec![Pattern::Full; 3]));
    let positions = (0..count as u32).collect();
    let batch =
        Batch { tokens, positions, documents: vec![0; count], targets: vec![IGNORE; count], ..Batch::default() };
    let mut engine = Engine::new(Cpu::new(), &plan, model, 0, Mode::Infer).unwrap();
    engine.logits(&batch).unwrap()
}

fn compared(adapter: &str, counts: (usize, usize)) {
    let file = TensorFile::open(&fixture(&format!("{adapter}_logits.safetensors"))).unwrap();
    let theirs = file.f32("logits").unwrap().data;
    let (name, adapter) = (adapter, Adapter::open(&fixture(adapter)).unwrap());
    assert_eq!(adapter.counts(), counts);
    let base = Header::open(&fixture("tiny_hf")).unwrap();
    assert!(relative(&logits(&base, &file), &theirs) > 0.05, "the adapter changes what is computed");
    let adapted = base.adapted(adapter).unwrap();
    let difference = relative(&logits(&adapted, &file), &theirs);
    println!("{name}: {difference:.1e}");
    assert!(difference <= LIMIT, "{difference}");
    // A run knows its base by this, however it was read.
    let digest = weights_digest(&adapted).unwrap();
    assert_eq!(digest, weights_digest(&adapted.read().unwrap().weights).unwrap());
}

#[test]
fn lora_on_every_projection() {
    compared("tiny_peft", (21, 0));
}

#[test]
fn rank_stabilised_lora_with_embedding_and_norms_trained_whole() {
    compared("tiny_peft_saved", (6, 8));
}

/// What `export --format adapter` writes is on its base what the run's own merge is, with a tied table and without.
#[test]
fn an_exported_adapter_reads_as_the_merged_model() {
    for tied in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let mut base = Checkpoint::open(&fixture("tiny_hf")).unwrap();
        base.config.set("tie_word_embeddings", tied.into());
        base.model.tied = tied;
        let (from, out) = (dir.path().join("base"), dir.path().join("adapter"));
        let exact = hub::Options { dtype: Dtype::F32, ..hub::Options::default() };
        hub::write(&from, &base.config, base.weights.views(), &exact).unwrap();
        let engine = trained(&Header::open(&from).unwrap());
        let wanted = engine.merged();
        let config = AdapterConfig {
            base: "base",
            rank: 4,
            alpha: 6.0,
            rslora: true,
            dropout: 0.0,
            targets: vec!["q_proj", "v_proj"],
            tied,
        };
        write_adapter(&out, &config, &engine.trained(), Dtype::F32, &[]).unwrap();
        assert!(base.weights.iter().any(|(name, tensor)| wanted.get(name) != Some(tensor)));
        let read = Header::open(&from).unwrap().adapted(Adapter::open(&out).unwrap()).unwrap().read().unwrap();
        for (name, tensor) in wanted.iter() {
            let error = relative(&read.weights.get(name).unwrap().data, &tensor.data);
            assert!(error <= 1e-6, "{name}, tied: {tied}: {error:e}");
        }
        // The same a tensor at a time, which is what a run measures itself by.
        let once = engine.into_merged();
        assert!(once.names().iter().map(String::as_str).eq(wanted.names()));
        assert!(wanted.iter().all(|(name, tensor)| once.tensor(name).unwrap().as_deref() == Some(tensor)));
        assert!(wanted.names().all(|name| once.tensor(name).unwrap().is_none()), "its memory is given back");
        assert!(once.tensor("model.layers.0.self_attn.q_proj.lora_A.weight").unwrap().is_none());
    }
}

/// An engine whose adapters, embedding and norms were moved.
fn trained(base: &Header) -> Engine<Cpu> {
    let adapt = Adapt::Lora {
        rank: 4,
        alpha: Some(6.0),
        targets: Some(vec![Target::Q, Target::V]),
        embed: true,
        norm: true,
        quantized: false,
        rslora: true,
        dropout: None,
    };
    let train = vec![Stage { steps: Some(1), ..Stage::default() }];
    let plan = Recipe { adapt: Some(adapt), train, ..recipe(base.model.clone()) }.plan().unwrap();
    let mut engine = Engine::new(Cpu::new(), &plan, base, 3, Mode::Train).unwrap();
    let mut values = engine.trained();
    for name in values.names().map(str::to_owned).collect::<Vec<_>>() {
        let data = &mut values.get_mut(&name).unwrap().data;
        data.iter_mut().enumerate().for_each(|(i, value)| *value += 0.05 * ((i * 7 % 11) as f32 / 5.0 - 1.0));
    }
    engine.restart(&values).unwrap();
    engine
}
