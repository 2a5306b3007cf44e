//! What is written is read again: bits, names, companions.

use std::fs;
use std::path::Path;

use recipe_core::HfConfig;
use serde_json::Value;

use super::{copy, one_value, tiny};
use crate::hub::{Checkpoint, Dtype, Header, Options, TensorFile, layout, write};

const F32: Options<'_> =
    Options { dtype: Dtype::F32, tokenizer: None, max_shard_bytes: u64::MAX, window: None, files: &[] };

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_model_of_transformers_is_read_whole() {
    let read = Checkpoint::open(&tiny()).unwrap();
    assert_eq!((read.model.layers, read.model.vocab, read.model.kv_heads), (3, 97, 2));
    assert_eq!(read.weights.parameters(), 141_888);
    let expected = layout(&read.model);
    assert!(read.weights.names().eq(expected.iter().map(|(name, _)| name.as_str())));
    let reference = TensorFile::open(&tiny().with_file_name("tiny_llama.safetensors")).unwrap();
    for (name, tensor) in read.weights.iter() {
        assert_eq!(tensor, &reference.f32(&format!("weight.{name}")).unwrap(), "{name}");
    }
}

#[test]
fn one_file_and_many_hold_the_same_bits() {
    let read = Checkpoint::open(&tiny()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    for (name, limit) in [("one", u64::MAX), ("many", 60_000)] {
        let out = dir.path().join(name);
        write(&out, &read.config, read.weights.views(), &Options { max_shard_bytes: limit, ..F32 }).unwrap();
        let again = Checkpoint::open(&out).unwrap();
        assert_eq!((again.model, again.weights), (read.model.clone(), read.weights.clone()));
    }
    assert_eq!(names(&dir.path().join("one")), ["config.json", "generation_config.json", "model.safetensors"]);
    let many = names(&dir.path().join("many"));
    assert!(many.contains(&"model-00001-of-00013.safetensors".to_string()), "{many:?}");
    assert!(names(dir.path()).len() == 2, "nothing is left beside them");
}

#[test]
fn the_index_is_hugging_faces() {
    let read = Checkpoint::open(&tiny()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    write(&out, &read.config, read.weights.views(), &Options { max_shard_bytes: 60_000, ..F32 }).unwrap();
    let (own, theirs) =
        (json(&out.join("model.safetensors.index.json")), json(&tiny().join("model.safetensors.index.json")));
    assert_eq!(own["metadata"], theirs["metadata"]);
    let keys = |index: &Value| index["weight_map"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&own), keys(&theirs), "sorted alike");
    for (tensor, file) in own["weight_map"].as_object().unwrap() {
        let file = TensorFile::open(&out.join(file.as_str().unwrap())).unwrap();
        assert!(file.shape(tensor).is_some());
        assert_eq!(file.metadata()["format"], "pt");
    }
}

#[test]
fn sixteen_bits_are_rounded_once() {
    let read = Checkpoint::open(&tiny()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    for dtype in [Dtype::BF16, Dtype::F16] {
        let path = |turn: usize| dir.path().join(format!("{}{turn}", dtype.tag()));
        let options = Options { dtype, ..F32 };
        write(&path(1), &read.config, read.weights.views(), &options).unwrap();
        let rounded = Checkpoint::open(&path(1)).unwrap();
        for ((name, before), (_, after)) in read.weights.iter().zip(rounded.weights.iter()) {
            let step = if dtype == Dtype::F16 { 2.0_f32.powi(-11) } else { 2.0_f32.powi(-8) };
            let close = |(a, b): (&f32, &f32)| (a - b).abs() <= step * a.abs() + 1e-7;
            assert!(before.data.iter().zip(&after.data).all(close), "{name}");
        }
        assert_ne!(rounded.weights, read.weights);
        write(&path(2), &rounded.config, rounded.weights.views(), &options).unwrap();
        let bytes = |turn| fs::read(path(turn).join("model.safetensors")).unwrap();
        assert_eq!(bytes(1), bytes(2));
        let config = json(&path(1).join("config.json"));
        assert_eq!(
            (&config["dtype"], &config["torch_dtype"]),
            (&dtype.torch_name().into(), &dtype.torch_name().into())
        );
    }
}

#[test]
fn both_spellings_of_rope_are_written_alike() {
    let read = Checkpoint::open(&tiny()).unwrap();
    assert!(read.config.get("rope_scaling").is_none(), "transformers 5 wrote one spelling only");
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    write(&out, &read.config, read.weights.views(), &F32).unwrap();
    let config = json(&out.join("config.json"));
    assert_eq!(config["rope_scaling"], config["rope_parameters"]);
    assert_eq!((&config["rope_theta"], &config["rope_scaling"]["rope_type"]), (&10_000.0.into(), &"default".into()));
}

#[test]
fn a_tied_head_is_left_out() {
    let read = Checkpoint::open(&tiny()).unwrap();
    let mut config = read.config.clone();
    config.set("tie_word_embeddings", true.into());
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    write(&out, &config, read.weights.views(), &F32).unwrap();
    let again = Header::open(&out).unwrap();
    assert!(again.tensors.iter().all(|tensor| tensor.name != "lm_head.weight"));
    assert!(again.mismatches().is_empty());
}

#[test]
fn an_earlier_model_is_replaced_and_strangers_stay() {
    let read = Checkpoint::open(&tiny()).unwrap();
    let dir = copy();
    fs::write(dir.path().join("README.md"), "mine").unwrap();
    write(dir.path(), &read.config, read.weights.views(), &F32).unwrap();
    assert_eq!(names(dir.path()), ["README.md", "config.json", "generation_config.json", "model.safetensors"]);
    assert_eq!(Checkpoint::open(dir.path()).unwrap().weights, read.weights);
}

#[test]
fn a_refused_write_leaves_the_earlier_model() {
    let read = Checkpoint::open(&tiny()).unwrap();
    let dir = copy();
    let before = names(dir.path());
    let large = vec![1e30; 97 * 64];
    let cases = [(f32::NAN, Dtype::F32, "The model diverged"), (1e30, Dtype::F16, "Write it as BF16 or F32")];
    for (value, dtype, advice) in cases {
        let values = large.iter().map(|_| value).collect::<Vec<_>>();
        let views =
            read.weights.views().map(|view| if view.0 == "lm_head.weight" { one_value(&view, &values) } else { view });
        let error = write(dir.path(), &read.config, views, &Options { dtype, ..F32 }).unwrap_err().to_string();
        assert!(error.contains("tensor lm_head.weight") && error.contains(advice), "{error}");
    }
    let fewer = read.weights.views().filter(|view| view.0 != "model.norm.weight");
    let error = write(dir.path(), &read.config, fewer, &F32).unwrap_err().to_string();
    assert!(error.contains("tensor model.norm.weight: expected shape [64], got nothing"), "{error}");
    let other = HfConfig::parse("{\"model_type\": \"gpt2\"}").unwrap();
    assert!(write(dir.path(), &other, read.weights.views(), &F32).is_err());
    assert_eq!(names(dir.path()), before);
    assert_eq!(Checkpoint::open(dir.path()).unwrap().weights, read.weights);
}

#[test]
fn a_tokenizer_goes_with_the_model_and_promises_its_window() {
    let dir = copy();
    let tokenizer = r#"{"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "</s>": 49}, "merges": ["a b"]}}"#;
    fs::write(dir.path().join("tokenizer.json"), tokenizer).unwrap();
    let settings = r#"{"eos_token": {"content": "</s>"}, "model_max_length": 64, "z": 1, "a": 2}"#;
    fs::write(dir.path().join("tokenizer_config.json"), settings).unwrap();
    fs::write(dir.path().join("chat_template.jinja"), "{{ messages }}").unwrap();
    let template = || Checkpoint::open(dir.path()).unwrap().tokenizer().unwrap().chat_template().unwrap();
    assert_eq!(template().as_deref(), Some("{{ messages }}"));
    let generation = r#"{"eos_token_id": [2, 48], "temperature": 0.6}"#;
    fs::write(dir.path().join("generation_config.json"), generation).unwrap();
    let mut read = Checkpoint::open(dir.path()).unwrap();
    read.config.set("max_position_embeddings", 2048.into());
    let out = dir.path().join("out");
    let options = Options { tokenizer: Some(read.tokenizer().unwrap()), ..F32 };
    write(&out, &read.config, read.weights.views(), &options).unwrap();
    assert_eq!(fs::read_to_string(out.join("tokenizer.json")).unwrap(), tokenizer);
    assert_eq!(fs::read_to_string(out.join("chat_template.jinja")).unwrap(), "{{ messages }}");
    assert_eq!(fs::read_to_string(out.join("generation_config.json")).unwrap(), generation);
    let settings = json(&out.join("tokenizer_config.json"));
    assert_eq!((&settings["model_max_length"], &settings["a"]), (&2048.into(), &2.into()));
    let again = Checkpoint::open(&out).unwrap();
    let tokenizer = again.tokenizer().unwrap();
    assert_eq!((tokenizer.bos(), tokenizer.eos()), (Some(1), Some(49)), "the one from config.json");
    assert!(tokenizer.is_stop(49) && tokenizer.is_stop(2) && tokenizer.is_stop(48) && !tokenizer.is_stop(1));
    assert_eq!(tokenizer.digest(), read.tokenizer().unwrap().digest());
}

/// Qwen's config.json names an id to begin with, and its tokenizer_config.json says that there is none.
#[test]
fn a_tokenizer_may_say_that_nothing_begins_a_text() {
    let dir = copy();
    let tokenizer = r#"{"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}}"#;
    fs::write(dir.path().join("tokenizer.json"), tokenizer).unwrap();
    let begins = |settings: &str| {
        fs::write(dir.path().join("tokenizer_config.json"), settings).unwrap();
        Header::open(dir.path()).unwrap().tokenizer().unwrap().bos()
    };
    assert_eq!(begins(r#"{"eos_token": "b"}"#), Some(1));
    assert_eq!(begins(r#"{"eos_token": "b", "bos_token": null}"#), None);
}

#[test]
fn a_chat_template_is_found_where_it_stands() {
    let json = r#"{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}"#;
    let found = |settings: &str| {
        let tokenizer = crate::hub::Tokenizer::from_files(json.as_bytes(), settings.as_bytes()).unwrap();
        tokenizer.chat_template().unwrap()
    };
    assert_eq!(found(r#"{"chat_template": "{{ a }}"}"#).as_deref(), Some("{{ a }}"));
    let several = r#"{"chat_template": [{"name": "rag", "template": "r"}, {"name": "default", "template": "d"}]}"#;
    assert_eq!(found(several).as_deref(), Some("d"));
    assert_eq!(found("{}"), None);
}
