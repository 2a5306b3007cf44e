//! `adapter_config.json`: how large the change is, and whether it is the plain kind that a merge computes.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value};

use crate::hub::error::Error;

/// Kinds of LoRA that need more than two factors per weight, or another scale for each; PEFT leaves these keys empty
/// where they are not used.
const VARIANTS: [&str; 14] = [
    "rank_pattern",
    "alpha_pattern",
    "use_dora",
    "use_qalora",
    "use_bdlora",
    "lora_bias",
    "layer_replication",
    "target_parameters",
    "trainable_token_indices",
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
    "velora_config",
];

/// Beginnings that leave the base as it is. The others (PiSSA, OLoRA, CorDA, LoftQ, …) subtract from it what the factors
/// begin with, so their factors belong to a base that is on no disk.
const BEGINNINGS: [&str; 3] = ["gaussian", "eva", "orthogonal"];

/// What a merge needs of the file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    pub(super) rank: usize,
    /// alpha / r, or alpha / √r with rsLoRA (Kalajdzievski 2023).
    pub(super) scale: f32,
    /// Modules that were trained whole.
    pub(super) saved: Vec<String>,
    /// The base's name or path, as far as the adapter knows it.
    pub(super) base: Option<String>,
}

impl Settings {
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let text = fs::read(path).map_err(Error::io("read", path))?;
        let keys: Map<String, Value> = serde_json::from_slice(&text).map_err(Error::json(path))?;
        refuse_others(path, &keys)?;
        let rank = number(path, &keys, "r", 8.0)?;
        if rank < 1.0 || rank.fract() != 0.0 {
            return Err(wrong(path, "r", "a whole number of at least 1", rank.to_string()));
        }
        let rank_stable = keys.get("use_rslora").is_some_and(|value| *value == Value::Bool(true));
        let divisor = if rank_stable { rank.sqrt() } else { rank };
        let scale = (number(path, &keys, "lora_alpha", 8.0)? / divisor) as f32;
        let base = keys.get("base_model_name_or_path").and_then(Value::as_str).map(str::to_string);
        Ok(Self { rank: rank as usize, scale, saved: names(path, &keys, "modules_to_save")?, base })
    }
}

fn refuse_others(path: &Path, keys: &Map<String, Value>) -> Result<(), Error> {
    let refuse = |what: String| {
        let advice =
            "Merge the adapter in PEFT (merge_and_unload, save_pretrained) and give the merged model as --model";
        Err(Error::Unsupported { path: path.to_path_buf(), what, advice: advice.into() })
    };
    match keys.get("peft_type").and_then(Value::as_str) {
        Some("LORA") => {}
        Some(other) => return refuse(format!("an adapter of the type {other}")),
        None => return Err(wrong(path, "peft_type", "\"LORA\"", "nothing".into())),
    }
    if let Some((key, value)) = VARIANTS.iter().find_map(|key| Some((key, keys.get(*key).filter(|value| used(value))?)))
    {
        return refuse(format!("{key} {value}"));
    }
    match keys.get("bias").and_then(Value::as_str) {
        None | Some("none") => {}
        Some(other) => return refuse(format!("an adapter with trained biases (bias {other:?})")),
    }
    match keys.get("init_lora_weights").and_then(Value::as_str) {
        Some(other) if !BEGINNINGS.contains(&other) => {
            refuse(format!("init_lora_weights {other:?}, which changes the base,"))
        }
        _ => Ok(()),
    }
}

fn used(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Object(entries) => !entries.is_empty(),
        Value::Array(entries) => !entries.is_empty(),
        _ => true,
    }
}

/// A finite number; PEFT's default where the key is absent.
fn number(path: &Path, keys: &Map<String, Value>, key: &str, default: f64) -> Result<f64, Error> {
    match keys.get(key) {
        None => Ok(default),
        Some(value) => value
            .as_f64()
            .filter(|number| number.is_finite())
            .ok_or_else(|| wrong(path, key, "a number", value.to_string())),
    }
}

fn names(path: &Path, keys: &Map<String, Value>, key: &str) -> Result<Vec<String>, Error> {
    match keys.get(key) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(value) => {
            serde_json::from_value(value.clone()).map_err(|_| wrong(path, key, "a list of names", value.to_string()))
        }
    }
}

fn wrong(path: &Path, key: &str, expected: &str, got: String) -> Error {
    Error::Damaged {
        path: path.to_path_buf(),
        what: key.into(),
        expected: expected.into(),
        got,
        advice: "Fetch the adapter again, or save it again with PEFT".into(),
    }
}
