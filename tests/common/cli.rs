//! A recipe's program, started as a process, and what it works on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::fixture;

/// An example of the package.
pub(crate) fn example(name: &str) -> Command {
    let tests = std::env::current_exe().unwrap();
    let built = tests.parent().and_then(Path::parent).unwrap().join("examples").join(name);
    assert!(built.exists(), "{}: `cargo test` builds the examples first", built.display());
    Command::new(built)
}

pub(crate) fn text(path: &Path) -> String {
    path.display().to_string()
}

/// A text file.
pub(crate) fn corpus(dir: &Path) -> String {
    let file = dir.join("corpus.txt");
    fs::write(&file, "the quick brown fox jumps over the lazy dog. ".repeat(400)).unwrap();
    text(&file)
}

/// The tiny Llama has a vocabulary of 97: one token for each printable character.
pub(crate) fn with_tokenizer(dir: &Path) -> PathBuf {
    let model = dir.join("model");
    fs::create_dir_all(&model).unwrap();
    for entry in fs::read_dir(fixture("tiny_hf")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, model.join(path.file_name().unwrap())).unwrap();
    }
    let vocab: serde_json::Map<String, Value> = (32..127_u8)
        .map(|c| ((c as char).to_string(), json!(c - 32)))
        .chain([("<unk>".to_owned(), json!(95))])
        .collect();
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "."}, "behavior": "Isolated", "invert": false},
        "post_processor": null, "decoder": {"type": "Fuse"},
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "<unk>"},
    });
    fs::write(model.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    model
}
