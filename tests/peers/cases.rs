//! Models to export, and what this program computes on them.

use std::fs;
use std::path::{Path, PathBuf};

use context_recipe::Cpu;
use context_recipe::data::Batch;
use context_recipe::engine::{Engine, Mode};
use context_recipe::hub::{self, Checkpoint, Dtype, Tensor, Weights, layout};
use context_recipe::plan::{
    Adapt, Context, HfConfig, Llama, LongRopeFactors, Pattern, Plan, Recipe, Rope, RopePlan, Stage,
};
use context_recipe::rehearse::Base;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common;

/// Beyond the native 256, so that laws which follow the length follow it.
pub(crate) const LENGTH: usize = 300;
/// The window of every plan here.
const TARGET: usize = 1024;

/// The embedded model, which was trained.
pub(crate) fn base() -> Base {
    Base::embedded().unwrap()
}

/// Every law that a recipe can name, from 256 tokens to 1024.
pub(crate) fn ropes() -> Vec<(&'static str, Rope)> {
    let long = (0..16).map(|pair| 1.0 + f64::from(pair) / 4.0).collect();
    let longrope = LongRopeFactors { short: vec![1.0; 16], long, attention_factor: None };
    let yarn = |betas: Option<(f64, f64)>, truncate| Rope::Yarn {
        scale: 4.0,
        beta_fast: betas.map(|(fast, _)| fast),
        beta_slow: betas.map(|(_, slow)| slow),
        attention_factor: Some(1.2),
        truncate: Some(truncate),
    };
    vec![
        ("interpolate", Rope::Interpolate { scale: 4.0 }),
        ("theta", Rope::Theta { theta: 1e6 }),
        ("ntk", Rope::Ntk { scale: 4.0 }),
        ("yarn", yarn(None, true)),
        ("yarn, other betas", yarn(Some((16.0, 2.0)), true)),
        ("yarn, not truncated", yarn(Some((16.0, 2.0)), false)),
        ("longrope", Rope::LongRope(longrope)),
        ("llama3", Rope::Llama3 { scale: 4.0, low: Some(1.0), high: Some(4.0) }),
        ("dynamic", Rope::DynamicNtk { scale: 4.0 }),
    ]
}

pub(crate) fn planned(model: &Llama, rope: Option<Rope>, adapt: Option<Adapt>, train: Vec<Stage>) -> Plan {
    let (native, target) = if rope.is_none() { (None, model.context) } else { (Some(model.context), TARGET) };
    let context = Context { native, target };
    let recipe = Recipe { rope, context, adapt, train, ..common::recipe(model.clone()) };
    recipe.plan().unwrap_or_else(|faults| panic!("{faults:#?}"))
}

pub(crate) fn plan(model: &Llama, rope: Option<Rope>) -> Plan {
    planned(model, rope, None, vec![])
}

/// Numbers in ±1 from a linear congruence.
fn noise(seed: u32) -> impl FnMut() -> f32 {
    let mut state = seed;
    move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// Weights of a model that was never trained: norms around 1, the rest as wide as makes logits of some units.
pub(crate) fn random(model: &Llama) -> Weights {
    let mut next = noise(7);
    let tensors = layout(model).into_iter().map(|(name, shape)| {
        let (middle, width) = match shape[..] {
            [_, inputs] => (0.0, 2.0 / (inputs as f32).sqrt()),
            _ if name.contains("norm") => (1.0, 0.3),
            _ => (0.0, 0.5),
        };
        let data = (0..shape.iter().product()).map(|_| middle + width * next()).collect();
        (name, Tensor { shape, data })
    });
    tensors.collect()
}

/// An engine whose adapters, and whatever else learns, hold other numbers than at the start.
pub(crate) fn trained(plan: &Plan, weights: &Weights) -> Engine<Cpu> {
    let mut engine = Engine::new(Cpu::new(), plan, weights, 3, Mode::Train).unwrap();
    let (mut values, mut next) = (engine.trained(), noise(11));
    let names: Vec<String> = values.names().map(str::to_owned).collect();
    for name in names {
        let tensor = values.get_mut(&name).unwrap();
        tensor.data.iter_mut().for_each(|value| *value += 0.05 * next());
    }
    engine.restart(&values).unwrap();
    engine
}

pub(crate) fn tokens(vocab: usize) -> Vec<u32> {
    let mut state = 5_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) % (vocab as u32 - 2) + 2
    };
    std::iter::once(0).chain(std::iter::repeat_with(&mut next)).take(LENGTH).collect()
}

/// A folder of exports, and the cases that logits.py is asked about.
pub(crate) struct Exports {
    dir: TempDir,
    pub(crate) cases: Vec<Value>,
}

impl Exports {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), cases: Vec::new() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Exports a model in shards, and computes its logits from what was written.
    pub(crate) fn hf(
        &mut self,
        name: &str,
        plan: &Plan,
        config: &HfConfig,
        weights: &Weights,
        dtype: Dtype,
    ) -> PathBuf {
        let dir = self.path().join(name);
        let config = config.clone().with_rope(&plan.rope, plan.target);
        let options = hub::Options { dtype, max_shard_bytes: 1_000_000, ..hub::Options::default() };
        hub::write(&dir, &config, weights.views(), &options).unwrap();
        let read = Checkpoint::open(&dir).unwrap().weights;
        let logits = self.logits(name, plan, &read);
        self.cases.push(json!({ "name": name, "model": dir, "tokens": tokens(plan.model.vocab), "logits": logits }));
        dir
    }

    /// An adapter on a base, against the merged model.
    pub(crate) fn adapter(&mut self, name: &str, plan: &Plan, merged: &Weights, base: &Path, adapter: &Path) {
        let logits = self.logits(name, plan, merged);
        let tokens = tokens(plan.model.vocab);
        self.cases.push(json!({ "name": name, "model": base, "adapter": adapter, "tokens": tokens, "logits": logits }));
    }

    /// A directory that the command line exported, with full attention as others serve it; or a base and an adapter, which
    /// must come to the same.
    pub(crate) fn written(&mut self, name: &str, dir: &Path, adapter: Option<(&Path, &Path)>) {
        let read = Checkpoint::open(dir).unwrap();
        let plain = plan(&read.model, None);
        let layers = vec![Pattern::Full; read.model.layers];
        let plan = Plan { rope: RopePlan::native(&read.model), layers: layers.into(), ..plain };
        let logits = self.logits(name, &plan, &read.weights);
        let tokens = tokens(plan.model.vocab);
        let (model, adapter) = adapter.map_or((dir, None), |(base, adapter)| (base, Some(adapter)));
        self.cases
            .push(json!({ "name": name, "model": model, "adapter": adapter, "tokens": tokens, "logits": logits }));
    }

    fn logits(&self, name: &str, plan: &Plan, weights: &Weights) -> PathBuf {
        let mut engine = Engine::new(Cpu::new(), &plan.merged(), weights, 0, Mode::Infer).unwrap();
        let batch = Batch::sequence(tokens(plan.model.vocab), &[0]).unwrap();
        let data = engine.logits(&batch).unwrap();
        let path = self.path().join(format!("{name}.safetensors"));
        let shape = [batch.len(), plan.model.vocab];
        hub::save(&path, [("logits", &shape[..], &data[..])], Dtype::F32, &[("format", "pt")]).unwrap();
        path
    }
}

/// The tiny Llama of the fixtures with a token for each printable character.
pub(crate) fn tiny_with_tokenizer(dir: &Path) -> PathBuf {
    fs::create_dir_all(dir).unwrap();
    for entry in fs::read_dir(common::fixture("tiny_hf")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, dir.join(path.file_name().unwrap())).unwrap();
    }
    let letters = (32..127_u8).map(|c| ((c as char).to_string(), json!(c - 32)));
    let vocab: serde_json::Map<String, Value> = letters.chain([("<unk>".to_owned(), json!(95))]).collect();
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "."}, "behavior": "Isolated", "invert": false},
        "post_processor": null, "decoder": {"type": "Fuse"},
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "<unk>"},
    });
    fs::write(dir.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    dir.to_path_buf()
}
