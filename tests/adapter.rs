//! A PEFT adapter on its base computes what PEFT computes.

mod common;

use common::{fixture, integers, plan_with, relative};
use context_recipe::data::{Batch, IGNORE};
use context_recipe::engine::{Engine, Mode};
use context_recipe::hub::{Adapter, Checkpoint, TensorFile};
use context_recipe::plan::Pattern;
use kernels::device::Cpu;

/// Relative to the largest logit.
const LIMIT: f32 = 1e-4;

fn logits(checkpoint: &Checkpoint, file: &TensorFile) -> Vec<f32> {
    let tokens: Vec<u32> = integers(file, "input_ids").into_iter().map(|id| id as u32).collect();
    let (count, plan) = (tokens.len(), plan_with(vec![Pattern::Full; 3]));
    let positions = (0..count as u32).collect();
    let batch =
        Batch { tokens, positions, documents: vec![0; count], targets: vec![IGNORE; count], ..Batch::default() };
    let mut engine = Engine::new(Cpu::new(), &plan, &checkpoint.weights, 0, Mode::Infer).unwrap();
    engine.logits(&batch).unwrap()
}

fn compared(adapter: &str, counts: (usize, usize)) {
    let file = TensorFile::open(&fixture(&format!("{adapter}_logits.safetensors"))).unwrap();
    let theirs = file.f32("logits").unwrap().data;
    let adapter = Adapter::open(&fixture(adapter)).unwrap();
    assert_eq!(adapter.counts(), counts);
    let mut checkpoint = Checkpoint::open(&fixture("tiny_hf")).unwrap();
    assert!(relative(&logits(&checkpoint, &file), &theirs) > 0.05, "the adapter changes what is computed");
    adapter.merge(&mut checkpoint).unwrap();
    let difference = relative(&logits(&checkpoint, &file), &theirs);
    println!("{}: {difference:.1e}", adapter.path().display());
    assert!(difference <= LIMIT, "{difference}");
}

#[test]
fn lora_on_every_projection() {
    compared("tiny_peft", (21, 0));
}

#[test]
fn rank_stabilised_lora_with_embedding_and_norms_trained_whole() {
    compared("tiny_peft_saved", (6, 8));
}
