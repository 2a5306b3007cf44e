//! The files that a recipe names: `hf("path/config.json")` and `longrope("factors.json")` and `duo("gates.json")`. The macro reads no other.

use std::io::ErrorKind;
use std::path::PathBuf;

use recipe_core::{ConfigError, HfConfig, Llama, LongRopeFactors, parse_gates};

use crate::number::Wrong;

/// The model in the config.json at `path`, relative to the folder of Cargo.toml, and the file's full path.
pub(crate) fn read(path: &str) -> Result<(Llama, String), Wrong> {
    let (text, file) = text(path, "config.json")?;
    let model = HfConfig::parse(&text).and_then(|config| config.llama()).map_err(|error| wrong_config(path, &error))?;
    Ok((model, file))
}

/// The factors in the file at `path`, and its full path.
pub(crate) fn factors(path: &str) -> Result<(LongRopeFactors, String), Wrong> {
    let (text, file) = text(path, "file of factors")?;
    let factors = LongRopeFactors::parse(&text).map_err(|error| Wrong {
        message: format!("`{path}` is not a file of factors: {error}"),
        help: "it holds {\"short_factor\": […], \"long_factor\": […]}; the command `search` writes one".to_owned(),
    })?;
    Ok((factors, file))
}

/// The gates in the file at `path`, layer by layer, and its full path.
pub(crate) fn gates(path: &str) -> Result<(Vec<Vec<f64>>, String), Wrong> {
    let (text, file) = text(path, "file of gates")?;
    let gates = parse_gates(&text).map_err(|error| Wrong {
        message: format!("`{path}` is not a file of gates: {error}"),
        help: "it holds [[0.9, 0.1, …], …]: a list for each layer, a number for each key/value head".to_owned(),
    })?;
    Ok((gates, file))
}

fn text(path: &str, kind: &str) -> Result<(String, String), Wrong> {
    let folder = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let file = folder.join(path);
    let text = std::fs::read_to_string(&file).map_err(|error| {
        let why = match error.kind() {
            ErrorKind::NotFound => "there is no such file".to_owned(),
            ErrorKind::InvalidData => "it is not text".to_owned(),
            ErrorKind::IsADirectory => format!("it is a folder; name the {kind} in it"),
            _ => error.to_string(),
        };
        let help = format!("paths start at the folder of Cargo.toml, {}", folder.display());
        Wrong { message: format!("cannot read `{path}`: {why}"), help }
    })?;
    Ok((text, file.display().to_string()))
}

fn wrong_config(path: &str, error: &ConfigError) -> Wrong {
    let help = match error {
        ConfigError::Json { .. } | ConfigError::NotAnObject { .. } => {
            "it takes the file that Hugging Face saves beside a model's weights"
        }
        ConfigError::Missing { .. } => {
            "a model's config.json has num_hidden_layers, hidden_size, num_attention_heads, num_key_value_heads, intermediate_size and vocab_size"
        }
        ConfigError::Wrong { .. } => "repair the file, or describe the model with `llama { … }`",
        ConfigError::Unsupported { .. } => {
            "recipes extend dense Llama, Mistral, Qwen2 and Qwen3 models whose layers are all alike"
        }
    };
    let text = error.to_string();
    // The error speaks of any config.json; here the user sees which.
    let rest = text.strip_prefix("config.json").unwrap_or(&text);
    Wrong { message: format!("`{path}`{rest}"), help: help.to_owned() }
}
