//! What several test files need: the fixtures and a plan for the tiny Llama that they were made with.
#![allow(dead_code, reason = "each test file uses its own part")]

pub(crate) mod cli;
pub(crate) mod plain;

use std::path::PathBuf;

use context_recipe::data::Batch;
use context_recipe::hub::{TensorFile, Weights};
use context_recipe::plan::{Adapt, Context, List, Llama, Pattern, Plan, Recipe, Scaling, Stage};

/// A file under `tests/fixtures`.
pub(crate) fn fixture(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures")).join(name)
}

/// The tiny Llama of `tiny_llama.safetensors`.
pub(crate) fn tiny_llama() -> Llama {
    Llama {
        layers: 3,
        hidden: 64,
        heads: 4,
        kv_heads: 2,
        head_dim: 16,
        ffn: 160,
        vocab: 97,
        context: 64,
        rope_theta: 1e4,
        rope_scaling: Scaling::Default,
        norm_eps: 1e-5,
        tied: false,
        qkv_bias: false,
        qk_norm: false,
        window: 0,
    }
}

/// A recipe that changes nothing.
pub(crate) fn recipe(model: Llama) -> Recipe {
    Recipe {
        name: "Test".to_owned(),
        context: Context { native: None, target: model.context },
        model,
        rope: None,
        attention: None,
        positions: None,
        select: None,
        adapt: None,
        optimizer: None,
        data: vec![],
        train: vec![],
        eval: vec![],
        allow: vec![],
        device: None,
    }
}

/// The plan of a recipe that changes nothing but each layer's pattern.
pub(crate) fn plan_with(layers: Vec<Pattern>) -> Plan {
    let plan = recipe(tiny_llama()).plan().expect("a recipe that changes nothing keeps every rule");
    Plan { layers: List::Owned(layers), ..plan }
}

/// A plan that trains the tiny Llama.
pub(crate) fn training_plan(adapt: Adapt, stages: Vec<Stage>) -> Plan {
    let recipe = Recipe { adapt: Some(adapt), train: stages, ..recipe(tiny_llama()) };
    recipe.plan().unwrap_or_else(|faults| panic!("{faults:#?}"))
}

/// The reference numbers.
pub(crate) fn reference() -> TensorFile {
    TensorFile::open(&fixture("tiny_llama.safetensors")).expect("the fixture is there")
}

/// The fixture's weights, by Hugging Face name.
pub(crate) fn weights(file: &TensorFile) -> Weights {
    let names: Vec<String> = file.names().filter(|name| name.starts_with("weight.")).map(str::to_owned).collect();
    let read = |name: String| (name["weight.".len()..].to_owned(), file.f32(&name).expect("a weight"));
    names.into_iter().map(read).collect()
}

/// An i64 tensor.
pub(crate) fn integers(file: &TensorFile, name: &str) -> Vec<i64> {
    let bytes = file.bytes(name).expect("an integer tensor");
    bytes.chunks_exact(8).map(|eight| i64::from_le_bytes(eight.try_into().expect("eight bytes"))).collect()
}

/// The fixture's input under a tag: its positions and documents are the tag's.
pub(crate) fn batch(file: &TensorFile, tag: &str) -> Batch {
    let tokens: Vec<u32> = integers(file, "input_ids").into_iter().map(|id| id as u32).collect();
    let count = tokens.len();
    let read = |name: &str| integers(file, name).into_iter().map(|value| value as u32).collect::<Vec<_>>();
    let positions = match tag {
        "skip" => read("skip_positions"),
        "documents" => read("document_positions"),
        _ => (0..count as u32).collect(),
    };
    let documents = if tag == "documents" { read("documents") } else { vec![0; count] };
    let targets = integers(file, "target_ids").into_iter().map(|id| id as i32).collect();
    Batch { tokens, positions, documents, targets, ..Batch::default() }
}

/// max |a − b| ÷ max |b|.
pub(crate) fn relative(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let largest = b.iter().fold(0.0_f32, |most, b| most.max(b.abs()));
    a.iter().zip(b).fold(0.0_f32, |most, (a, b)| most.max((a - b).abs())) / largest
}
