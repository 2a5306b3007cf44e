//! The files that make up a tokenizer in a model's directory.

use std::fs;
use std::io;
use std::path::Path;

use serde_json::{Map, Value};

use crate::hub::error::Error;

/// The file that holds the tokenizer itself.
pub(super) const TOKENIZER: &str = "tokenizer.json";
/// The file that names its special tokens and the window.
pub(super) const SETTINGS: &str = "tokenizer_config.json";
/// The file that says how a model generates: chat models name there all tokens that end an answer.
pub(crate) const GENERATION: &str = "generation_config.json";
/// The file that writes conversations, where it is not in the settings.
const TEMPLATE: &str = "chat_template.jinja";
/// What else stands beside them and goes where they go.
const COMPANIONS: [&str; 9] = [
    SETTINGS,
    GENERATION,
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    TEMPLATE,
    "chat_template.json",
];

/// A `tokenizer.json` and its companions, as they were read.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    tokenizer: Vec<u8>,
    companions: Vec<(String, Vec<u8>)>,
}

impl Files {
    pub(in crate::hub) fn of(tokenizer: Vec<u8>) -> Self {
        Self { tokenizer, companions: Vec::new() }
    }

    /// The same with a `tokenizer_config.json`.
    pub(in crate::hub) fn with_settings(mut self, settings: &Map<String, Value>) -> Self {
        let text = format!("{:#}\n", Value::Object(settings.clone()));
        self.companions.push((SETTINGS.to_string(), text.into_bytes()));
        self
    }

    /// The same with a `tokenizer_config.json` as it stands in a file.
    pub(super) fn with_config(mut self, text: &[u8]) -> Self {
        self.companions.push((SETTINGS.to_string(), text.to_vec()));
        self
    }

    /// All files of a directory; none when there is no `tokenizer.json`.
    pub(super) fn read(dir: &Path) -> Result<Option<Self>, Error> {
        let Some(tokenizer) = read(&dir.join(TOKENIZER))? else { return Ok(None) };
        let mut companions = Vec::new();
        for name in COMPANIONS {
            companions.extend(read(&dir.join(name))?.map(|bytes| (name.to_string(), bytes)));
        }
        Ok(Some(Self { tokenizer, companions }))
    }

    pub(super) fn tokenizer(&self) -> &[u8] {
        &self.tokenizer
    }

    /// `tokenizer_config.json`; empty when there is none. `path` is the tokenizer's.
    pub(super) fn settings(&self, path: &Path) -> Result<Map<String, Value>, Error> {
        self.companion(path, SETTINGS)
    }

    /// `generation_config.json`; empty when there is none.
    pub(super) fn generation(&self, path: &Path) -> Result<Map<String, Value>, Error> {
        self.companion(path, GENERATION)
    }

    /// A template of its own file goes before the one in `tokenizer_config.json`, as in transformers.
    pub(super) fn chat_template(&self, path: &Path) -> Result<Option<String>, Error> {
        if let Some((name, bytes)) = self.companions.iter().find(|(name, _)| name == TEMPLATE) {
            let text = String::from_utf8(bytes.clone()).map_err(|error| Error::Tokenizer {
                path: path.with_file_name(name),
                reason: format!("not UTF-8: {error}"),
            })?;
            return Ok(Some(text));
        }
        Ok(match self.settings(path)?.remove("chat_template") {
            Some(Value::String(text)) => Some(text),
            Some(Value::Array(named)) => {
                let default = named.iter().find(|template| template["name"] == "default");
                default.and_then(|template| template["template"].as_str()).map(str::to_owned)
            }
            _ => None,
        })
    }

    fn companion(&self, path: &Path, name: &str) -> Result<Map<String, Value>, Error> {
        match self.companions.iter().find(|(companion, _)| companion == name) {
            Some((name, bytes)) => serde_json::from_slice(bytes).map_err(Error::json(&path.with_file_name(name))),
            None => Ok(Map::new()),
        }
    }

    /// Names and bytes of all files, with the window in `tokenizer_config.json` changed.
    pub(super) fn contents(&self, path: &Path, window: Option<usize>) -> Result<Vec<(String, Vec<u8>)>, Error> {
        let mut contents = vec![(TOKENIZER.to_string(), self.tokenizer.clone())];
        for (name, bytes) in &self.companions {
            let bytes = match window {
                Some(window) if name == SETTINGS => {
                    let mut settings = self.settings(path)?;
                    settings.insert("model_max_length".into(), window.into());
                    format!("{:#}\n", Value::Object(settings)).into_bytes()
                }
                _ => bytes.clone(),
            };
            contents.push((name.clone(), bytes));
        }
        Ok(contents)
    }
}

/// A file's bytes; none when there is no such name. A symbolic link to nothing is an error.
fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(reason) if reason.kind() == io::ErrorKind::NotFound && path.symlink_metadata().is_err() => Ok(None),
        Err(reason) => Err(Error::io("read", path)(reason)),
    }
}
