//! Whole checkpoints: read, written, damaged.

mod adapter;
mod bitsandbytes;
mod damaged;
mod round_trip;

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{Checkpoint, Dtype, Tensor, View, Weights, save};

/// A small Llama that transformers saved, in thirteen shards.
fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny_hf")
}

/// A copy of it that a test may damage.
fn copy() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(tiny()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
    }
    dir
}

/// The same model in one file, after `change`.
fn single(change: impl FnOnce(&mut Weights)) -> TempDir {
    let mut weights = Checkpoint::open(&tiny()).unwrap().weights;
    change(&mut weights);
    let dir = tempfile::tempdir().unwrap();
    fs::copy(tiny().join("config.json"), dir.path().join("config.json")).unwrap();
    save(&dir.path().join("model.safetensors"), weights.views(), Dtype::F32, &[]).unwrap();
    dir
}

/// What the configuration of a copy says instead of `old`.
fn configured(dir: &TempDir, old: &str, new: &str) {
    let path = dir.path().join("config.json");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(old), "{old}");
    fs::write(path, text.replace(old, new)).unwrap();
}

fn refusal(dir: &TempDir) -> String {
    Checkpoint::open(dir.path()).unwrap_err().to_string()
}

/// All of these stand in the message.
fn says(message: &str, words: &[&str]) {
    for word in words {
        assert!(message.contains(word), "no {word:?} in: {message}");
    }
}

fn zeros(shape: &[usize]) -> Tensor {
    Tensor { shape: shape.to_vec(), data: vec![0.0; shape.iter().product()] }
}

fn one_value<'a>(view: &View<'a>, value: &'a [f32]) -> View<'a> {
    (view.0, view.1, value)
}
