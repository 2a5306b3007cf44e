//! Each thing that can differ: the embedded base with one key of its files changed, under a recipe for it.

use std::fs;
use std::path::{Path, PathBuf};

use recipe_core::{Recipe, Rope, Source, presets};
use serde_json::{Value, json};

use super::*;

fn recipe() -> Recipe {
    Recipe::new(presets::tiny(), 1024).rope(Rope::interpolate(4.0))
}

/// A copy of the base with keys of one of its files changed.
fn copy(file: &str, keys: &[(&str, Value)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let base = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/tiny"));
    for name in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        fs::copy(base.join(name), dir.path().join(name)).unwrap();
    }
    let path = dir.path().join(file);
    let mut found: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    keys.iter().for_each(|(key, value)| found[*key] = value.clone());
    fs::write(&path, found.to_string()).unwrap();
    dir
}

/// The words and what to write, the file's path left out.
fn told(recipe: &Recipe, dir: &Path) -> Vec<(String, String)> {
    let found = differences(&recipe.plan().unwrap(), &Header::open(dir).unwrap(), None).unwrap();
    let shown = dir.display().to_string();
    found.into_iter().map(|it| (it.words, it.write.unwrap_or_default().replace(&shown, "DIR"))).collect()
}

fn changed(keys: &[(&str, Value)]) -> Vec<(String, String)> {
    told(&recipe(), copy("config.json", keys).path())
}

const HF: &str = "`model: hf(\"DIR/config.json\")`";

#[test]
fn what_is_the_same_is_not_told() {
    assert_eq!(changed(&[]), []);
}

#[test]
fn every_number_of_the_architecture_is_told() {
    let keys = [
        ("num_hidden_layers", json!(5), "num_hidden_layers is 5 instead of 6"),
        ("hidden_size", json!(64), "hidden_size is 64 instead of 128"),
        ("num_key_value_heads", json!(2), "num_key_value_heads is 2 instead of 4"),
        ("head_dim", json!(16), "head_dim is 16 instead of 32"),
        ("intermediate_size", json!(300), "intermediate_size is 300 instead of 352"),
        ("vocab_size", json!(513), "vocab_size is 513 instead of 512"),
        ("tie_word_embeddings", json!(false), "tie_word_embeddings is false instead of true"),
        ("rms_norm_eps", json!(1e-6), "rms_norm_eps is 1e-6 instead of 1e-5"),
    ];
    for (key, value, words) in keys {
        let found = changed(&[(key, value)]);
        assert_eq!(found[0], (words.to_owned(), HF.to_owned()), "{key}: {found:?}");
    }
    let found = changed(&[("num_attention_heads", json!(8)), ("num_key_value_heads", json!(4))]);
    assert_eq!(found[0].0, "num_attention_heads is 8 instead of 4");
}

#[test]
fn another_rope_and_a_window_are_told() {
    let theta = json!({ "rope_type": "default", "rope_theta": 5e5 });
    let found = changed(&[("rope_parameters", theta.clone()), ("rope_scaling", theta), ("rope_theta", json!(5e5))]);
    assert!(found[0].0.contains("the model's own rope is") && found[0].0.contains("500000"), "{found:?}");
    assert_eq!((found.len(), &*found[0].1), (1, HF));
    let found = changed(&[
        ("model_type", json!("mistral")),
        ("architectures", json!(["MistralForCausalLM"])),
        ("sliding_window", json!(64)),
    ]);
    assert!(found[0].0.contains("see 64 tokens"), "{found:?}");
    assert_eq!((found.len(), &*found[0].1), (1, HF));
}

#[test]
fn a_shorter_window_is_a_fault_and_a_longer_promise_is_none() {
    let expected = "max_position_embeddings is 128, and the recipe takes the model from 256";
    let found = changed(&[("max_position_embeddings", json!(128))]);
    assert_eq!(found, [(expected.to_owned(), "`context: 128 -> 1K`".to_owned())]);
    let plan = recipe().plan().unwrap();
    let said = |context| promise(&plan, &Llama { context, ..presets::tiny() }).unwrap_or_default();
    assert_eq!(changed(&[("max_position_embeddings", json!(512))]), []);
    assert!(said(512).contains("promises 512 tokens") && said(512).ends_with("with `context: 512 -> 1K`"));
    assert!(said(4096).ends_with("with `context: 4K`"));
    assert_eq!((said(256), said(1024)), (String::new(), String::new()));
}

/// Published files of Qwen promise more than the presets begin at.
#[test]
fn published_files_of_qwen_fit_their_presets() {
    for (model, promised) in [(presets::qwen2_7b(), 131_072), (presets::qwen3_8b(), 40_960)] {
        let found = Llama { context: promised, ..model.clone() };
        let plan = Recipe::new(model.clone(), model.context).plan().unwrap();
        assert!(shorter(&plan, &found).is_none() && load::mismatches(&model, &found).is_empty());
        assert!(promise(&plan, &found).unwrap().contains("if the model was trained at"));
        assert!(same(&model, &found));
    }
}

#[test]
fn special_tokens_and_templates_are_told() {
    let bos = told(&recipe(), copy("config.json", &[("bos_token_id", json!(7))]).path());
    assert_eq!(bos[0].0, "bos_token_id is 7, and the tokenizer's is 0, which training uses");
    assert!(bos[0].1.contains("`\"bos_token_id\": 0` in config.json"));
    let listed = [("eos_token_id", json!([5, 1])), ("bos_token_id", json!(0))];
    assert_eq!(told(&recipe(), copy("config.json", &listed).path()), []);
    let recipe = recipe().data([Source::chat("chats/*.jsonl")]);
    let found = told(&recipe, copy("config.json", &[]).path());
    assert!(found[0].0.contains("needs a chat template") && found[0].1.contains("jsonl"), "{found:?}");
    let template = [("chat_template", json!("{{ messages }}"))];
    assert_eq!(told(&recipe, copy("tokenizer_config.json", &template).path()), []);
}

#[test]
fn a_preset_is_named_and_a_file_without_one_is_written_out() {
    let smaller = Recipe { model: Llama { layers: 3, ..presets::tiny() }, ..recipe() };
    let found = told(&smaller, copy("config.json", &[]).path());
    assert_eq!(found[0], ("num_hidden_layers is 6 instead of 3".to_owned(), "`model: tiny`".to_owned()));
    assert_eq!(
        numbers(&presets::qwen2_0_5b()),
        "llama { layers = 24, hidden = 896, heads = 14, kv_heads = 2, head_dim = 64, ffn = 4864, vocab = 151936, \
         context = 32K, rope_theta = 1000000, norm_eps = 1e-6, tied = true, qkv_bias = true }"
    );
}
