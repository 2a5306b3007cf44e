//! SmolLM2-135M-Instruct, against what transformers computes on it (`tests/fixtures/smollm2.json`).
//!
//! Runs where `scripts/fetch_smollm2.sh` has put the model and `SMOLLM2_GGUF` holds its path.

use std::path::Path;

use serde_json::Value;

use crate::hub::{Checkpoint, Dtype, Header, Options, Special, write};

fn fixture() -> Value {
    serde_json::from_str(include_str!("../../../tests/fixtures/smollm2.json")).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

fn header() -> Option<Header> {
    let path = std::env::var_os("SMOLLM2_GGUF")?;
    Some(Header::open(Path::new(&path)).unwrap())
}

#[test]
fn text_becomes_the_same_tokens_as_in_transformers() {
    let Some(header) = header() else { return };
    let (tokenizer, fixture) = (header.tokenizer().unwrap(), fixture());
    let text = include_str!("../../../tests/fixtures/persuasion_12000.txt");
    let tokens = tokenizer.encode(text, Special::Add).unwrap();
    assert_eq!(tokens[..2048], ids(&fixture["tokens"]));
    assert_eq!(tokenizer.decode(&tokens).unwrap(), text);
    for case in fixture["tokenizer"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        assert_eq!(tokenizer.encode(text, Special::Add).unwrap(), ids(&case["tokens"]), "{text:?}");
    }
    for case in fixture["greedy"].as_array().unwrap() {
        let prompt = case["prompt"].as_str().unwrap();
        assert_eq!(tokenizer.encode(prompt, Special::Add).unwrap(), ids(&case["prompt_tokens"]));
        assert_eq!(tokenizer.decode(&ids(&case["greedy_tokens"])).unwrap(), case["text"].as_str().unwrap());
    }
}

#[test]
fn it_is_written_and_read_again_bit_by_bit() {
    let Some(header) = header() else { return };
    let read = header.read().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let options = Options { dtype: Dtype::F32, tokenizer: read.tokenizer.as_ref(), max_shard_bytes: 200_000_000 };
    write(&dir.path().join("out"), &read.config, read.weights.views(), &options).unwrap();
    let again = Checkpoint::open(&dir.path().join("out")).unwrap();
    assert_eq!(again.model, read.model);
    assert!(again.weights == read.weights);
    let text = "x=1234567890; 你好";
    let encode = |checkpoint: &Checkpoint| checkpoint.tokenizer().unwrap().encode(text, Special::Add).unwrap();
    assert_eq!(encode(&again), encode(&read));
}
