//! SmolLM2-135M, read from GGUF, against what transformers computes on it (`fixtures/smollm2.json`).
//!
//! ```text
//! SMOLLM2=$(scripts/fetch_smollm2.sh target/models) cargo test --release --test real_model
//! ```

mod common;

use std::path::PathBuf;
use std::sync::OnceLock;

use context_recipe::Cpu;
use context_recipe::data::Batch;
use context_recipe::engine::{Engine, Mode, Sampling};
use context_recipe::eval;
use context_recipe::hub::{Checkpoint, Special};
use serde_json::Value;

fn expected() -> &'static Value {
    static EXPECTED: OnceLock<Value> = OnceLock::new();
    EXPECTED.get_or_init(|| {
        let text = std::fs::read_to_string(common::fixture("smollm2.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    })
}

fn checkpoint() -> &'static Checkpoint {
    static MODEL: OnceLock<Checkpoint> = OnceLock::new();
    MODEL.get_or_init(|| {
        let path = std::env::var("SMOLLM2").expect("SMOLLM2 is the path that scripts/fetch_smollm2.sh prints");
        Checkpoint::open(&PathBuf::from(path)).unwrap()
    })
}

fn engine() -> Engine<Cpu> {
    let checkpoint = checkpoint();
    let plan = common::recipe(checkpoint.model.clone()).plan().unwrap();
    Engine::new(Cpu::new(), &plan, &checkpoint.weights, 0, Mode::Infer).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

#[test]
fn the_shape_is_the_preset() {
    assert_eq!(checkpoint().model, context_recipe::plan::presets::named("smollm2_135m").unwrap());
}

#[test]
fn tokenisation_is_exact() {
    let tokenizer = checkpoint().tokenizer().unwrap();
    for case in expected()["tokenizer"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        assert_eq!(tokenizer.encode(text, Special::Omit).unwrap(), ids(&case["tokens"]), "{text:?}");
    }
    // A page of prose: decoded and read again. The last word may have been cut.
    let tokens = ids(&expected()["tokens"]);
    let text = tokenizer.decode(&tokens).unwrap();
    let again = tokenizer.encode(&text, Special::Omit).unwrap();
    assert_eq!(again[..tokens.len() - 2], tokens[..tokens.len() - 2]);
}

#[test]
fn the_loss_is_that_of_transformers() {
    let tokens = ids(&expected()["tokens"]);
    let found = eval::by_position(&mut engine(), &tokens, tokens.len(), 1, &mut |_| {}).unwrap();
    let mean = expected()["mean_nll"].as_f64().unwrap();
    assert!((found.mean_nll / mean - 1.0).abs() < 2e-3, "{} instead of {mean}", found.mean_nll);
    assert_eq!(found.nll.len() * found.bucket, 2048);
}

#[test]
fn the_most_likely_tokens_are_those_of_transformers() {
    let tokens = ids(&expected()["tokens"]);
    let logits = engine().logits(&Batch::sequence(tokens, &[0]).unwrap()).unwrap();
    let vocab = checkpoint().model.vocab;
    for (row, best) in expected()["top5_at"].as_object().unwrap() {
        let row: usize = row.parse().unwrap();
        let row = &logits[row * vocab..(row + 1) * vocab];
        for pair in best.as_array().unwrap() {
            let (id, logit) = (pair[0].as_u64().unwrap() as usize, pair[1].as_f64().unwrap());
            assert!((f64::from(row[id]) - logit).abs() < 2e-2, "token {id}: {} instead of {logit}", row[id]);
        }
    }
}

#[test]
fn greedy_continuations_are_exact() {
    let (mut engine, tokenizer) = (engine(), checkpoint().tokenizer().unwrap());
    for case in expected()["greedy"].as_array().unwrap() {
        let prompt = tokenizer.encode(case["prompt"].as_str().unwrap(), Special::Omit).unwrap();
        assert_eq!(prompt, ids(&case["prompt_tokens"]));
        let tokens = ids(&case["greedy_tokens"]);
        let found = engine.generate(&prompt, Sampling::greedy(), tokens.len(), &|_| false, &mut |_| {}).unwrap();
        assert_eq!(found.tokens, tokens, "{}", case["prompt"]);
    }
}
