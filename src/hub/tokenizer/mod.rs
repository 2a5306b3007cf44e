//! Text to token ids and back.
//!
//! A tokenizer is a `tokenizer.json` (Hugging Face's format) together with the files that stand beside it in a model's
//! directory, so that an exported model gets all of them. A GGUF file's vocabulary is turned into the same form.

mod files;
mod json;

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::Value;

pub(super) use self::files::{Files, GENERATION};
pub(super) use self::json::{Added, BytePairs, LLAMA3, Pieces, QWEN2, Splitter, Vocabulary};
use super::error::Error;

/// Whether an encoding begins (or ends) as the model expects its input to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// With the tokens that the tokenizer puts around a text, most often one that begins it.
    Add,
    /// The text's own tokens only.
    Omit,
}

/// A tokenizer, ready to use and to be saved beside another model.
#[derive(Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    files: Files,
    path: PathBuf,
    bos: Option<u32>,
    /// `tokenizer_config.json` says that nothing begins a text, whatever id the model's configuration names (Qwen).
    no_bos: bool,
    stops: Vec<u32>,
    size: usize,
}

impl Tokenizer {
    /// Reads a model directory's `tokenizer.json` and what belongs to it; none when there is no such file.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Json`], and [`Error::Tokenizer`] for a file that describes no tokenizer.
    pub fn open(dir: &Path) -> Result<Option<Self>, Error> {
        match Files::read(dir)? {
            Some(files) => Self::of(files, &dir.join(files::TOKENIZER)).map(Some),
            None => Ok(None),
        }
    }

    /// A tokenizer from the text of a `tokenizer.json`.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] when it describes none.
    pub fn from_json(text: &[u8]) -> Result<Self, Error> {
        Self::of(Files::of(text.to_vec()), Path::new(files::TOKENIZER))
    }

    /// A tokenizer from the texts of a `tokenizer.json` and its `tokenizer_config.json`.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] when they describe none.
    pub fn from_files(tokenizer: &[u8], config: &[u8]) -> Result<Self, Error> {
        Self::of(Files::of(tokenizer.to_vec()).with_config(config), Path::new(files::TOKENIZER))
    }

    /// The tokenizer in the form that the tokenizers crate gives it.
    pub fn inner(&self) -> &tokenizers::Tokenizer {
        &self.inner
    }

    pub(super) fn of(files: Files, path: &Path) -> Result<Self, Error> {
        let refused = |reason: &dyn fmt::Display| Error::Tokenizer {
            path: path.to_path_buf(),
            reason: format!(
                "no tokenizer: {reason}. Fetch the file again; it must be of Hugging Face's tokenizers format"
            ),
        };
        let mut inner = tokenizers::Tokenizer::from_bytes(files.tokenizer()).map_err(|reason| refused(&reason))?;
        // Settings of the run that saved the file; transformers ignores them, too.
        inner.with_truncation(None).map_err(|reason| refused(&reason))?;
        inner.with_padding(None);
        let settings = files.settings(path)?;
        if let Some(processor) = json::begin_and_end(&settings, &inner) {
            let processor: tokenizers::PostProcessorWrapper =
                serde_json::from_value(processor).map_err(|reason| refused(&reason))?;
            inner.with_post_processor(Some(processor));
        }
        let id = |key: &str| json::content(settings.get(key)?).and_then(|token| inner.token_to_id(token));
        let (bos, eos) = (id("bos_token"), id("eos_token"));
        let no_bos = settings.get("bos_token") == Some(&Value::Null);
        let size = inner.get_vocab(true).values().max().map_or(0, |&highest| highest as usize + 1);
        let ends = files.generation(path)?.remove("eos_token_id");
        let stops = eos.into_iter().collect();
        Ok(Self { inner, files, path: path.to_path_buf(), bos, no_bos, stops, size }.with_ids(None, ends.as_ref()))
    }

    /// The token ids of a text.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] when the tokenizer has no token for a part of the text.
    pub fn encode(&self, text: &str, special: Special) -> Result<Vec<u32>, Error> {
        match self.inner.encode_fast(text, special == Special::Add) {
            Ok(encoding) => Ok(encoding.get_ids().to_vec()),
            Err(reason) => Err(self.failed(format!("cannot encode {} bytes of text: {reason}", text.len()))),
        }
    }

    /// The text of token ids; special tokens leave no trace.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] when the tokenizer's decoder fails.
    pub fn decode(&self, ids: &[u32]) -> Result<String, Error> {
        self.inner
            .decode(ids, true)
            .map_err(|reason| self.failed(format!("cannot decode {} tokens: {reason}", ids.len())))
    }

    /// Hugging Face's `chat_template`: from `chat_template.jinja`, else from `tokenizer_config.json`; of several, the one
    /// called "default".
    ///
    /// # Errors
    /// [`Error::Json`] and [`Error::Tokenizer`] for files that cannot be read.
    pub fn chat_template(&self) -> Result<Option<String>, Error> {
        self.files.chat_template(&self.path)
    }

    /// The token that begins a text, if the model has one.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// The token that ends a text, if the model has one.
    pub fn eos(&self) -> Option<u32> {
        self.stops.first().copied()
    }

    /// Whether generation ends with this token; chat models have several such tokens.
    pub fn is_stop(&self, id: u32) -> bool {
        self.stops.contains(&id)
    }

    /// All tokens that end an answer, the one that ends a text first.
    pub(super) fn stops(&self) -> &[u32] {
        &self.stops
    }

    /// The token that fills up short texts, if the model has one.
    pub(super) fn padding(&self) -> Result<Option<u32>, Error> {
        let settings = self.files.settings(&self.path)?;
        Ok(settings.get("pad_token").and_then(json::content).and_then(|token| self.id(token)))
    }

    /// The text of `tokenizer.json`.
    pub(super) fn json(&self) -> &[u8] {
        self.files.tokenizer()
    }

    /// The id of a token by its spelling in the vocabulary.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The highest id plus one: the least `vocab_size` of a model that this tokenizer feeds.
    pub fn vocab_size(&self) -> usize {
        self.size
    }

    /// A number that differs when the tokenizer differs, for the keys of caches: FNV-1a of `tokenizer.json`.
    pub fn digest(&self) -> u64 {
        let bytes = self.files.tokenizer().iter();
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }

    /// The file that it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes `tokenizer.json` and every file that stood beside it into a directory; `model_max_length` is the window
    /// that the saved `tokenizer_config.json` promises.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Json`] for a `tokenizer_config.json` that is not JSON.
    pub fn save(&self, dir: &Path, model_max_length: Option<usize>) -> Result<(), Error> {
        for (name, bytes) in self.files.contents(&self.path, model_max_length)? {
            super::staging::save_bytes(&dir.join(name), &bytes)?;
        }
        Ok(())
    }

    /// The same files as [`save`](Self::save) writes.
    pub(super) fn contents(&self, model_max_length: Option<usize>) -> Result<Vec<(String, Vec<u8>)>, Error> {
        self.files.contents(&self.path, model_max_length)
    }

    /// Fills in from the model's configuration what the tokenizer's own files leave open.
    pub(super) fn with_ids(mut self, bos: Option<&Value>, eos: Option<&Value>) -> Self {
        let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        self.bos = self.bos.or_else(|| bos.filter(|_| !self.no_bos).and_then(id));
        let ends = match eos {
            Some(Value::Array(ids)) => ids.iter().filter_map(id).collect(),
            Some(one) => id(one).into_iter().collect(),
            None => Vec::new(),
        };
        for end in ends {
            if !self.stops.contains(&end) {
                self.stops.push(end);
            }
        }
        self
    }

    fn failed(&self, reason: String) -> Error {
        Error::Tokenizer { path: self.path.clone(), reason }
    }
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer").field("path", &self.path).field("vocab_size", &self.size).finish_non_exhaustive()
    }
}
