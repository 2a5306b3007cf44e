//! `hf("path/config.json")`: the only file the macro ever reads.

use std::io::ErrorKind;
use std::path::PathBuf;

use recipe_core::{ConfigError, HfConfig, Llama};

use crate::number::Wrong;

/// The model in the config.json at `path`, relative to the folder of Cargo.toml, and the file's full path.
pub(crate) fn read(path: &str) -> Result<(Llama, String), Wrong> {
    let folder = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let file = folder.join(path);
    let text = std::fs::read_to_string(&file).map_err(|error| {
        let why = match error.kind() {
            ErrorKind::NotFound => "there is no such file".to_owned(),
            ErrorKind::InvalidData => "it is not text".to_owned(),
            ErrorKind::IsADirectory => "it is a folder; name the config.json in it".to_owned(),
            _ => error.to_string(),
        };
        let help = format!("paths start at the folder of Cargo.toml, {}", folder.display());
        Wrong { message: format!("cannot read `{path}`: {why}"), help }
    })?;
    let model = HfConfig::parse(&text).and_then(|config| config.llama()).map_err(|error| wrong_config(path, &error))?;
    Ok((model, file.display().to_string()))
}

fn wrong_config(path: &str, error: &ConfigError) -> Wrong {
    let help = match error {
        ConfigError::Json { .. } | ConfigError::NotAnObject { .. } => {
            "it takes the file that Hugging Face saves beside a model's weights"
        }
        ConfigError::Missing { .. } => {
            "a Llama's config.json has num_hidden_layers, hidden_size, num_attention_heads, intermediate_size and vocab_size"
        }
        ConfigError::Wrong { .. } => "repair the file, or describe the model with `llama { … }`",
        ConfigError::Unsupported { .. } => "recipes extend models of the Llama family",
    };
    let text = error.to_string();
    // The error speaks of any config.json; here the user sees which.
    let rest = text.strip_prefix("config.json").unwrap_or(&text);
    Wrong { message: format!("`{path}`{rest}"), help: help.to_owned() }
}
