//! Adapters that do not fit, in every way.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{says, single, tiny, zeros};
use crate::hub::{Adapter, Dtype, Header, TensorFile, Weights, save};

const SETTINGS: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
const QUERY: &str = "base_model.model.model.layers.0.self_attn.q_proj";

fn whole() -> PathBuf {
    tiny().with_file_name("tiny_peft_saved")
}

/// A copy whose settings and tensors a test has changed.
fn changed(settings: impl FnOnce(&mut serde_json::Value), tensors: impl FnOnce(&mut Weights)) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut keys = serde_json::from_slice(&fs::read(whole().join(SETTINGS)).unwrap()).unwrap();
    settings(&mut keys);
    fs::write(dir.path().join(SETTINGS), keys.to_string()).unwrap();
    let file = TensorFile::open(&whole().join(WEIGHTS)).unwrap();
    let mut weights: Weights = file.names().map(|name| (name.to_string(), file.f32(name).unwrap())).collect();
    tensors(&mut weights);
    save(&dir.path().join(WEIGHTS), weights.views(), Dtype::F32, &[]).unwrap();
    dir
}

fn merged(dir: &Path, base: &Path) -> Result<Weights, crate::hub::Error> {
    Ok(Header::open(base)?.checked()?.adapted(Adapter::open(dir)?)?.read()?.weights)
}

fn refusal(dir: &TempDir) -> String {
    merged(dir.path(), &tiny()).unwrap_err().to_string()
}

#[test]
fn what_is_no_plain_lora_is_refused_by_name() {
    let cases = [
        ("use_dora", "true".to_string(), "use_dora true is not supported. Merge the adapter in PEFT"),
        ("rank_pattern", r#"{"q_proj": 8}"#.into(), "rank_pattern {\"q_proj\":8}"),
        ("alpha_pattern", r#"{"q_proj": 8}"#.into(), "alpha_pattern"),
        ("bias", r#""all""#.into(), "an adapter with trained biases (bias \"all\")"),
        ("peft_type", r#""IA3""#.into(), "an adapter of the type IA3"),
        ("peft_type", "null".into(), "peft_type: expected \"LORA\", got nothing"),
        (
            "init_lora_weights",
            r#""pissa_niter_4""#.into(),
            "init_lora_weights \"pissa_niter_4\", which changes the base,",
        ),
        ("layer_replication", "[[0, 2]]".into(), "layer_replication [[0,2]]"),
        ("r", "0".into(), "r: expected a whole number of at least 1, got 0"),
        ("r", "1.5".into(), "r: expected a whole number"),
        ("lora_alpha", r#""16""#.into(), "lora_alpha: expected a number, got \"16\""),
        ("modules_to_save", "3".into(), "modules_to_save: expected a list of names"),
    ];
    for (key, value, expected) in cases {
        let dir = changed(|keys| keys[key] = serde_json::from_str(&value).unwrap(), |_| ());
        says(&refusal(&dir), &["adapter_config.json", expected]);
    }
}

#[test]
fn another_base_is_named_tensor_by_tensor() {
    let dir = changed(
        |keys| keys["r"] = 4.into(),
        |weights| {
            weights.insert(format!("{}.lora_A.weight", QUERY.replace("layers.0", "layers.7")), zeros(&[4, 64]));
            weights.insert(format!("{}.lora_B.weight", QUERY.replace("layers.0", "layers.7")), zeros(&[64, 4]));
            weights.insert("base_model.model.model.embed_tokens.weight", zeros(&[98, 64]));
        },
    );
    says(
        &refusal(&dir),
        &[
            "does not fit in 15 places",
            "q_proj.lora_A.weight: expected shape [4, 64] for model.layers.0.self_attn.q_proj.weight and r 4, got [3, 64]",
            "layers.7.self_attn.q_proj.lora_B.weight: expected a base with model.layers.7.self_attn.q_proj.weight",
            "embed_tokens.weight: expected shape [97, 64] for model.embed_tokens.weight and r 4, got [98, 64]",
            "Give the base that the adapter was trained on (./tiny_hf) as --model",
        ],
    );
}

#[test]
fn tensors_that_are_no_part_of_an_adapter() {
    let strange = ["base_model.model.model.embed_tokens.lora_embedding_A", "lora_A.weight"];
    let dir = changed(|_| (), |weights| strange.iter().for_each(|name| weights.insert(*name, zeros(&[3, 64]))));
    says(&refusal(&dir), &["in 2 places", strange[0], "another kind of tensor", "merge_and_unload"]);
    let dir = changed(|_| (), |weights| drop(weights.remove(&format!("{QUERY}.lora_B.weight"))));
    says(&refusal(&dir), &["q_proj.lora_A.weight: expected its lora_B beside it, got none"]);
    let dir = changed(|_| (), |weights| drop(weights.remove("base_model.model.model.embed_tokens.weight")));
    says(&refusal(&dir), &["expected the weights of embed_tokens, which modules_to_save names, got none"]);
    let dir = changed(|keys| drop(keys["modules_to_save"].take()), |weights| *weights = Weights::new());
    says(&refusal(&dir), &["expected lora_A and lora_B tensors, got none"]);
    let dir = changed(|_| (), |weights| weights.get_mut(&format!("{QUERY}.lora_B.weight")).unwrap().data[5] = f32::NAN);
    says(&refusal(&dir), &["q_proj.lora_B.weight: expected finite values, got NaN"]);
}

#[test]
fn damaged_and_missing_files() {
    let dir = changed(|_| (), |_| ());
    let file = dir.path().join(WEIGHTS);
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() - 4]).unwrap();
    says(&refusal(&dir), &["adapter_model.safetensors is damaged"]);
    fs::remove_file(&file).unwrap();
    says(&refusal(&dir), &["no adapter_model.safetensors", "Fetch the whole adapter"]);
    fs::write(dir.path().join("adapter_model.bin"), "").unwrap();
    says(&refusal(&dir), &["adapter_model.bin alone", "save it again"]);
    fs::write(dir.path().join(SETTINGS), "{\"r\": ").unwrap();
    fs::write(&file, &bytes).unwrap();
    says(&refusal(&dir), &["adapter_config.json is malformed", "line 1"]);
    fs::remove_file(dir.path().join(SETTINGS)).unwrap();
    says(&refusal(&dir), &["no adapter_config.json, so no adapter", "Give the directory that PEFT saved"]);
    says(&Adapter::open(Path::new("/nowhere/adapter")).unwrap_err().to_string(), &["cannot read /nowhere/adapter"]);
}

#[test]
fn an_adapter_in_a_models_place_names_its_base() {
    let words = ["an adapter of ./tiny_hf", "Give its base as --model, and this directory as --adapter"];
    says(&Header::open(&whole()).unwrap_err().to_string(), &words);
    let dir = changed(|_| (), |_| ());
    fs::copy(tiny().join("config.json"), dir.path().join("config.json")).unwrap();
    says(&Header::open(dir.path()).unwrap_err().to_string(), &words);
    assert_eq!(Adapter::open(dir.path()).unwrap().model().unwrap().layers, 3);
}

/// PEFT names a weight with factors `base_layer`, and saves that of an output that it adapts.
#[test]
fn a_saved_base_layer_is_replaced_before_its_product_is_added() {
    let dir = changed(
        |_| (),
        |weights| {
            weights.insert("base_model.model.lm_head.base_layer.weight", zeros(&[97, 64]));
            weights.insert("base_model.model.lm_head.lora_A.weight", ones(&[3, 64]));
            weights.insert("base_model.model.lm_head.lora_B.weight", ones(&[97, 3]));
        },
    );
    let head = merged(dir.path(), &tiny()).unwrap().remove("lm_head.weight").unwrap();
    // rsLoRA: alpha / √r, times the rank's three products of 1.
    assert!(head.data.iter().all(|value| (value - 4.0 / 3.0_f32.sqrt() * 3.0).abs() < 1e-5), "{}", head.data[0]);
}

fn ones(shape: &[usize]) -> crate::hub::Tensor {
    crate::hub::Tensor { data: vec![1.0; shape.iter().product()], ..zeros(shape) }
}

#[test]
fn a_tied_base_keeps_one_table() {
    let base = single(|weights| drop(weights.remove("lm_head.weight")));
    super::configured(&base, "\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true");
    let says_no = |dir: TempDir| {
        let error = merged(dir.path(), base.path()).unwrap_err().to_string();
        says(&error, &["expected one table for embedding and output", "tie_word_embeddings false"]);
    };
    says_no(changed(|_| (), |_| ()));
    says_no(changed(
        |_| (),
        |weights| {
            weights.insert("base_model.model.lm_head.lora_A.weight", zeros(&[3, 64]));
            weights.insert("base_model.model.lm_head.lora_B.weight", zeros(&[97, 3]));
        },
    ));
    let both = changed(
        |_| (),
        |weights| {
            let table = weights.get("base_model.model.model.embed_tokens.weight").unwrap().clone();
            weights.insert("base_model.model.lm_head.weight", table);
        },
    );
    let found = merged(both.path(), base.path()).unwrap();
    let table =
        TensorFile::open(&whole().join(WEIGHTS)).unwrap().f32("base_model.model.model.embed_tokens.weight").unwrap();
    assert_eq!(found.get("model.embed_tokens.weight"), Some(&table));
    assert!(found.get("lm_head.weight").is_none());
}
