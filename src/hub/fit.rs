//! Whether a checkpoint's parts belong together: tensors against configuration, tokenizer against vocabulary.

use std::collections::HashMap;
use std::path::Path;

use recipe_core::{HfConfig, Llama};
use serde_json::Value;

use super::error::Error;
use super::layout::{HEAD, layout};
use super::listed::Listed;
use super::tokenizer::Tokenizer;

/// Tensors that are missing, superfluous, or of another shape than the configuration asks for.
pub(super) fn tensors(path: &Path, model: &Llama, listed: &[Listed]) -> Vec<Error> {
    if model.layers > listed.len() {
        return vec![tensor(
            path,
            "model.layers.*",
            format!("{} layers (num_hidden_layers)", model.layers),
            format!("{} tensors in all", listed.len()),
            "Fetch the files again, or correct num_hidden_layers",
        )];
    }
    let expected = layout(model);
    let held: HashMap<&str, &Listed> = listed.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    let wanted: HashMap<&str, &[usize]> =
        expected.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())).collect();
    let mut errors: Vec<Error> =
        expected.iter().filter_map(|(name, shape)| missing_or_misshapen(path, name, shape, &held)).collect();
    let repeated_head = |tensor: &Listed| model.tied && tensor.name == HEAD;
    errors.extend(listed.iter().filter(|held| !wanted.contains_key(held.name.as_str()) && !repeated_head(held)).map(
        |held| {
            let got = format!("{} {:?}", held.dtype, held.shape);
            tensor(&held.file, &held.name, "no such tensor in this model".into(), got, advice_unexpected(held))
        },
    ));
    errors
}

fn missing_or_misshapen(path: &Path, name: &str, shape: &[usize], held: &HashMap<&str, &Listed>) -> Option<Error> {
    match held.get(name) {
        None => {
            let advice = match name {
                HEAD => "Fetch the files again; if the model shares its embedding, set tie_word_embeddings to true",
                _ => "Fetch the files again, or correct config.json",
            };
            Some(tensor(path, name, format!("shape {shape:?}"), "nothing of that name".into(), advice))
        }
        Some(found) if found.shape != shape => {
            let (expected, got) = (format!("shape {shape:?}, as config.json says"), format!("{:?}", found.shape));
            Some(tensor(&found.file, name, expected, got, "Use the config.json that belongs to these files"))
        }
        Some(_) => None,
    }
}

fn advice_unexpected(held: &Listed) -> &'static str {
    if held.name.ends_with(".bias") {
        "No such bias is in the model that config.json describes; check model_type there"
    } else if ["absmax", "quant", ".SCB", "qweight", "qzeros", ".scales"].iter().any(|part| held.name.contains(part)) {
        "The file is quantised in a way that is not read; use the model in BF16, bitsandbytes' NF4, or as GGUF"
    } else if held.name.contains("lora_") {
        "The file holds an adapter; give its base as --model and the adapter's directory as --adapter"
    } else {
        "Use the config.json that belongs to these files"
    }
}

fn tensor(path: &Path, name: &str, expected: String, got: String, advice: &'static str) -> Error {
    Error::Tensor { path: path.to_path_buf(), tensor: name.to_string(), expected, got, advice: advice.into() }
}

/// Ids beyond the embedding, and a tokenizer that is plainly another model's.
pub(super) fn vocabulary(config: &HfConfig, model: &Llama, tokenizer: Option<&Tokenizer>, path: &Path) -> Vec<Error> {
    let mut errors = special_ids(config, model, path);
    let Some(tokenizer) = tokenizer else { return errors };
    let size = tokenizer.vocab_size();
    let wrong = |expected: String| Error::Vocabulary {
        path: tokenizer.path().to_path_buf(),
        what: "the tokenizer".into(),
        expected,
        got: format!("{size} ids"),
        advice: "Use the tokenizer that belongs to this model".into(),
    };
    // Embeddings are often padded to a round number of rows; more than half of padding is another model's tokenizer.
    if size > model.vocab {
        errors.push(wrong(format!("at most {} ids (vocab_size)", model.vocab)));
    } else if size < model.vocab / 2 {
        errors.push(wrong(format!("about {} ids (vocab_size)", model.vocab)));
    }
    errors
}

fn special_ids(config: &HfConfig, model: &Llama, path: &Path) -> Vec<Error> {
    let mut errors = Vec::new();
    for key in ["bos_token_id", "eos_token_id"] {
        let ids = match config.get(key) {
            Some(Value::Array(ids)) => ids.as_slice(),
            Some(id) => std::slice::from_ref(id),
            None => &[],
        };
        let outside = ids.iter().filter_map(Value::as_u64).find(|&id| id >= model.vocab as u64);
        errors.extend(outside.map(|id| Error::Vocabulary {
            path: path.to_path_buf(),
            what: key.into(),
            expected: format!("an id below {} (vocab_size)", model.vocab),
            got: id.to_string(),
            advice: "Use the config.json that belongs to this model".into(),
        }));
    }
    errors
}
