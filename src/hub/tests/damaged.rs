//! Every lie that a checkpoint can tell ends in an error that names it.

use std::fs;

use super::{configured, copy, refusal, says, single, tiny, zeros};
use crate::hub::{Checkpoint, Header, Tensors};

#[test]
fn a_file_cut_short() {
    let dir = copy();
    let path = dir.path().join("model-00002-of-00013.safetensors");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    says(&refusal(&dir), &["model-00002-of-00013.safetensors is damaged: tensor model.layers.0.", "expected", "got"]);
    fs::write(&path, &bytes[..100]).unwrap();
    says(&refusal(&dir), &["the header's length", "at most 92 bytes"]);
}

#[test]
fn another_shape_than_the_configuration_says() {
    let dir = copy();
    configured(&dir, "\"vocab_size\": 97", "\"vocab_size\": 96");
    says(
        &refusal(&dir),
        &[
            "in 2 places",
            "model-00001-of-00013.safetensors: tensor model.embed_tokens.weight: expected shape [96, 64], as config.json says, got [97, 64]",
            "tensor lm_head.weight",
            "Use the config.json that belongs to these files",
        ],
    );
}

#[test]
fn a_missing_tensor() {
    let dir = single(|weights| drop(weights.remove("model.layers.1.mlp.up_proj.weight")));
    says(&refusal(&dir), &["tensor model.layers.1.mlp.up_proj.weight: expected shape [160, 64], got nothing"]);
    let dir = single(|weights| drop(weights.remove("lm_head.weight")));
    says(&refusal(&dir), &["tensor lm_head.weight", "set tie_word_embeddings to true"]);
}

#[test]
fn tensors_that_no_llama_has() {
    let dir = single(|weights| {
        weights.insert("model.layers.0.self_attn.q_proj.bias", zeros(&[64]));
        weights.insert("model.layers.3.mlp.up_proj.weight", zeros(&[160, 64]));
    });
    says(
        &refusal(&dir),
        &[
            "model.safetensors: tensor model.layers.0.self_attn.q_proj.bias: expected no such tensor",
            "check model_type",
            "model.layers.3.mlp.up_proj.weight",
        ],
    );
}

#[test]
fn tables_of_frequencies_are_skipped() {
    let dir = single(|weights| weights.insert("model.layers.0.self_attn.rotary_emb.inv_freq", zeros(&[8])));
    assert_eq!(Checkpoint::open(dir.path()).unwrap().weights, Checkpoint::open(&tiny()).unwrap().weights);
}

#[test]
fn values_that_are_no_weights() {
    for value in [f32::NAN, f32::INFINITY] {
        let dir = single(|weights| weights.get_mut("model.layers.2.mlp.down_proj.weight").unwrap().data[161] = value);
        let message = refusal(&dir);
        says(&message, &["model.safetensors: tensor model.layers.2.mlp.down_proj.weight: expected finite values"]);
        says(&message, &[&format!("got {value} at [1, 1] (1 in all)")]);
        // Read alone, the tensor says the same, and its neighbours nothing.
        let header = Header::open(dir.path()).unwrap();
        assert_eq!(header.tensor("model.layers.2.mlp.down_proj.weight").unwrap_err().to_string(), message);
        assert!(header.tensor("model.layers.2.mlp.up_proj.weight").unwrap().is_some());
        assert!(header.tensor("model.layers.3.mlp.up_proj.weight").unwrap().is_none());
    }
}

#[test]
fn a_tied_head_that_differs() {
    let dir = single(|_| ());
    configured(&dir, "\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true");
    says(&refusal(&dir), &["tensor lm_head.weight", "since tie_word_embeddings is true"]);
    let dir = single(|weights| {
        let embedding = weights.get("model.embed_tokens.weight").unwrap().clone();
        weights.insert("lm_head.weight", embedding);
    });
    configured(&dir, "\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true");
    let read = Checkpoint::open(dir.path()).unwrap();
    assert!(read.model.tied && read.weights.get("lm_head.weight").is_none());
}

#[test]
fn a_missing_shard() {
    let dir = copy();
    fs::remove_file(dir.path().join("model-00007-of-00013.safetensors")).unwrap();
    says(&refusal(&dir), &["index.json", "the shard model-00007-of-00013.safetensors with 1 tensors", "no such file"]);
}

#[test]
fn a_directory_in_a_files_place() {
    let dir = copy();
    fs::create_dir(dir.path().join("model.safetensors")).unwrap();
    says(&refusal(&dir), &["model.safetensors is damaged: what has this name: expected a file"]);
}

#[test]
fn an_index_that_points_outside() {
    for name in
        ["../model-00007-of-00013.safetensors", "/etc/passwd", "..", "", "a/b.safetensors", "a\\\\b.safetensors"]
    {
        let dir = copy();
        let path = dir.path().join("model.safetensors.index.json");
        let text = fs::read_to_string(&path).unwrap().replace("model-00007-of-00013.safetensors", name);
        fs::write(&path, text).unwrap();
        says(&refusal(&dir), &["weight_map", "names of files in the same directory"]);
    }
}

#[test]
fn an_index_that_names_the_wrong_shard() {
    let dir = copy();
    let path = dir.path().join("model.safetensors.index.json");
    let (old, new) = ("\"model.norm.weight\": \"model-00012", "\"model.norm.weight\": \"model-00011");
    fs::write(&path, fs::read_to_string(&path).unwrap().replace(old, new)).unwrap();
    says(&refusal(&dir), &["model-00011-of-00013.safetensors: tensor model.norm.weight", "as the index says"]);
}

#[test]
fn malformed_json() {
    for name in ["config.json", "model.safetensors.index.json"] {
        let dir = copy();
        fs::write(dir.path().join(name), "{\"a\": [").unwrap();
        says(&refusal(&dir), &[name, "line 1"]);
    }
    let dir = copy();
    fs::write(dir.path().join("model.safetensors.index.json"), "{\"weight_map\": 3}").unwrap();
    says(&refusal(&dir), &["model.safetensors.index.json is malformed"]);
    fs::write(dir.path().join("tokenizer.json"), "{\"model\": 3}").unwrap();
    says(&refusal(&dir), &["tokenizer.json: no tokenizer"]);
}

#[test]
fn more_layers_than_any_file_holds() {
    let dir = copy();
    configured(&dir, "\"num_hidden_layers\": 3", "\"num_hidden_layers\": 4000000000000");
    says(&refusal(&dir), &["expected 4000000000000 layers (num_hidden_layers), got 30 tensors in all"]);
}

#[test]
fn a_tokenizer_of_another_model() {
    let dir = copy();
    let tokenizer = |size: usize| {
        let vocab: Vec<String> = (0..size).map(|id| format!("\"t{id}\": {id}")).collect();
        let text = format!(r#"{{"model": {{"type": "BPE", "vocab": {{{}}}, "merges": []}}}}"#, vocab.join(","));
        fs::write(dir.path().join("tokenizer.json"), text).unwrap();
    };
    tokenizer(98);
    says(&refusal(&dir), &["tokenizer.json: the tokenizer: expected at most 97 ids (vocab_size), got 98 ids"]);
    tokenizer(20);
    says(&refusal(&dir), &["expected about 97 ids (vocab_size), got 20 ids"]);
    tokenizer(96);
    assert_eq!(Checkpoint::open(dir.path()).unwrap().tokenizer().unwrap().vocab_size(), 96);
    configured(&dir, "\"eos_token_id\": 2", "\"eos_token_id\": [2, 97]");
    says(&refusal(&dir), &["eos_token_id: expected an id below 97 (vocab_size), got 97"]);
}

#[test]
fn paths_without_a_model() {
    let dir = tempfile::tempdir().unwrap();
    says(&refusal(&dir), &["an empty directory"]);
    fs::write(dir.path().join("a.gguf"), "GGUF").unwrap();
    says(&refusal(&dir), &["no config.json, but a.gguf", "Give the path of the .gguf file itself"]);
    fs::copy(tiny().join("config.json"), dir.path().join("config.json")).unwrap();
    fs::write(dir.path().join("pytorch_model.bin"), "").unwrap();
    says(&refusal(&dir), &["but pytorch_model.bin", "Convert it"]);
    let open = |name: &str| Header::open(&dir.path().join(name)).unwrap_err().to_string();
    says(&open("nowhere"), &["cannot open", "nowhere", "Check the path"]);
    says(&open("config.json"), &["one file of a model", "Give the directory"]);
    says(&open("pytorch_model.bin"), &["a file that does not begin with GGUF"]);
    let adapter = tiny().with_file_name("tiny_peft");
    says(
        &Header::open(&adapter).unwrap_err().to_string(),
        &["an adapter (adapter_config.json), no whole model", "Give its base as --model"],
    );
}

#[cfg(unix)]
#[test]
fn a_link_to_nothing() {
    let dir = copy();
    let path = dir.path().join("model-00003-of-00013.safetensors");
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("gone", &path).unwrap();
    says(&refusal(&dir), &["cannot open", "model-00003-of-00013.safetensors", "a symbolic link may point"]);
}

#[test]
fn a_checkpoint_without_a_tokenizer_says_so_when_text_is_asked_for() {
    let error = Checkpoint::open(&tiny()).unwrap().tokenizer().unwrap_err().to_string();
    says(&error, &["no tokenizer.json", "text cannot be read without it"]);
}
