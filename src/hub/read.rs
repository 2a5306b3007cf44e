//! Opening a checkpoint: first what it says it is, then its values.

use std::borrow::Cow;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use recipe_core::{HfConfig, Llama};

use super::adapter::Adapter;
use super::bitsandbytes;
use super::directory::{self, Directory};
use super::error::Error;
use super::fit;
use super::gguf::Gguf;
use super::layout::{EMBEDDING, HEAD, layout};
use super::listed::Listed;
use super::replace;
use super::tokenizer::Tokenizer;
use super::weights::{Tensor, Tensors, Weights};

/// The form that a checkpoint has on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A directory with `config.json` and safetensors files.
    HuggingFace,
    /// One file in llama.cpp's format.
    Gguf,
}

/// Where a checkpoint came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its form.
    pub format: Format,
    /// The directory or file.
    pub path: PathBuf,
}

/// A checkpoint whose values are still on disk. As [`Tensors`] it reads each one when it is asked for, and keeps
/// none.
#[derive(Debug)]
pub struct Header {
    /// The configuration.
    pub config: HfConfig,
    /// The architecture in it.
    pub model: Llama,
    /// The tokenizer, when there is one.
    pub tokenizer: Option<Tokenizer>,
    /// Every tensor that the files hold, under Hugging Face's names.
    pub tensors: Vec<Listed>,
    /// Where it is.
    pub source: Source,
    store: Store,
    adapter: Option<Adapter>,
}

/// A checkpoint in memory.
#[derive(Debug)]
pub struct Checkpoint {
    /// The configuration, without what it says of quantised tensors: the weights here are plain.
    pub config: HfConfig,
    /// The architecture in it.
    pub model: Llama,
    /// All weights in f32, in the order of [`layout`]; a tied `lm_head.weight` is absent.
    pub weights: Weights,
    /// The tokenizer, when there is one.
    pub tokenizer: Option<Tokenizer>,
    /// Where it came from.
    pub source: Source,
}

#[derive(Debug)]
enum Store {
    Directory(Directory),
    Gguf(Gguf),
}

impl Checkpoint {
    /// Reads a Hugging Face directory or a GGUF file whole, one tensor after the other.
    ///
    /// # Errors
    /// Whatever [`Header::open`] and [`Header::read`] say.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Header::open(path)?.read()
    }

    /// The tokenizer.
    ///
    /// # Errors
    /// [`Error::NoModel`] when the checkpoint has none, with the file that is missing.
    pub fn tokenizer(&self) -> Result<&Tokenizer, Error> {
        self.tokenizer.as_ref().ok_or_else(|| no_tokenizer(&self.source))
    }
}

impl Header {
    /// Reads the configuration, the tokenizer and the list of tensors, but no values.
    ///
    /// # Errors
    /// When there is no model at the path, or when one of its files is damaged or malformed.
    pub fn open(path: &Path) -> Result<Self, Error> {
        match format(path)? {
            Format::HuggingFace => Self::directory(path),
            Format::Gguf => Self::gguf(path),
        }
    }

    /// Everything in which the files contradict the configuration: tensors that are missing, superfluous or of another
    /// shape, and a vocabulary that does not fit. Empty for a sound checkpoint.
    pub fn mismatches(&self) -> Vec<Error> {
        let mut errors = fit::tensors(&self.source.path, &self.model, &self.tensors);
        errors.extend(fit::vocabulary(&self.config, &self.model, self.tokenizer.as_ref(), &self.source.path));
        errors
    }

    /// The same, if it is sound.
    ///
    /// # Errors
    /// All [`mismatches`](Self::mismatches) at once; [`Error::Tensor`] for a tied `lm_head.weight` that differs from the
    /// embedding; [`Error::Io`].
    pub fn checked(self) -> Result<Self, Error> {
        Error::all(&self.source.path, self.mismatches())?;
        self.check_tied_head()?;
        Ok(self)
    }

    /// With this adapter and no other, which every tensor that is read from now on has in it.
    ///
    /// # Errors
    /// All [`Adapter::mismatches`] at once; [`Error::Tensor`] for a tied base whose embedding and head would differ.
    pub fn adapted(self, adapter: Adapter) -> Result<Self, Error> {
        adapter.check(&self)?;
        Ok(Self { adapter: Some(adapter), ..self })
    }

    /// Reads all values.
    ///
    /// # Errors
    /// What [`checked`](Self::checked) says; [`Error::Tensor`] for a value that is not finite; [`Error::Io`].
    pub fn read(self) -> Result<Checkpoint, Error> {
        let whole = self.checked()?;
        let read = |name: String| whole.value(&name).map(|tensor| (name, tensor));
        let weights = whole.names().into_iter().map(read).collect::<Result<_, _>>()?;
        let Self { config, model, tokenizer, source, .. } = whole;
        Ok(Checkpoint { config, model, weights, tokenizer, source })
    }

    /// The tokenizer.
    ///
    /// # Errors
    /// [`Error::NoModel`] when the checkpoint has none, with the file that is missing.
    pub fn tokenizer(&self) -> Result<&Tokenizer, Error> {
        self.tokenizer.as_ref().ok_or_else(|| no_tokenizer(&self.source))
    }

    fn directory(path: &Path) -> Result<Self, Error> {
        replace::finish(path)?;
        let file = path.join(directory::CONFIG);
        if file.symlink_metadata().is_err() {
            return Err(directory::no_config(path)?);
        }
        let text = fs::read(&file).map_err(Error::io("read", &file))?;
        let config_error = |source| Error::Config { path: file.clone(), source };
        let mut config = HfConfig::parse(&String::from_utf8_lossy(&text)).map_err(config_error)?;
        bitsandbytes::settle(&mut config, &file)?;
        let model = config.llama().map_err(config_error)?;
        let tokenizer = Tokenizer::open(path)?;
        let store = Directory::open(path)?;
        let tensors = store.listed();
        let source = Source { format: Format::HuggingFace, path: path.to_path_buf() };
        Ok(Self::of(config, model, tokenizer, tensors, source, Store::Directory(store)))
    }

    fn gguf(path: &Path) -> Result<Self, Error> {
        let store = Gguf::open(path)?;
        let config = store.config()?;
        let model = config.llama().map_err(|source| Error::Config { path: path.to_path_buf(), source })?;
        let (tokenizer, tensors) = (store.tokenizer()?, store.listed());
        let source = Source { format: Format::Gguf, path: path.to_path_buf() };
        Ok(Self::of(config, model, tokenizer, tensors, source, Store::Gguf(store)))
    }

    fn of(
        config: HfConfig,
        model: Llama,
        tokenizer: Option<Tokenizer>,
        tensors: Vec<Listed>,
        source: Source,
        store: Store,
    ) -> Self {
        let tokenizer =
            tokenizer.map(|tokenizer| tokenizer.with_ids(config.get("bos_token_id"), config.get("eos_token_id")));
        Self { config, model, tokenizer, tensors, source, store, adapter: None }
    }

    /// A tensor with the adapter in it.
    fn value(&self, name: &str) -> Result<Tensor, Error> {
        match &self.adapter {
            None => self.plain(name),
            Some(adapter) => adapter.applied(name, || self.plain(name)),
        }
    }

    /// A tensor as it lies in the files; its values are all finite.
    pub(super) fn plain(&self, name: &str) -> Result<Tensor, Error> {
        let tensor = match &self.store {
            Store::Directory(files) => files.tensor(&self.source.path, name)?,
            Store::Gguf(file) => file.tensor(name, &self.model)?,
        };
        match tensor.data.iter().position(|value| !value.is_finite()) {
            None => Ok(tensor),
            Some(place) => Err(self.not_finite(name, &tensor, place)),
        }
    }

    fn not_finite(&self, name: &str, tensor: &Tensor, place: usize) -> Error {
        let count = tensor.data.iter().filter(|value| !value.is_finite()).count();
        let columns = tensor.shape.last().copied().unwrap_or(1);
        Error::Tensor {
            path: self.file_of(name),
            tensor: name.to_string(),
            expected: "finite values".into(),
            got: format!("{} at {:?} ({count} in all)", tensor.data[place], [place / columns, place % columns]),
            advice: "Fetch the file again; if it stays so, the model diverged before it was saved".into(),
        }
    }

    /// A file may repeat the embedding as a tied head; it may not hold another head there.
    fn check_tied_head(&self) -> Result<(), Error> {
        if !self.model.tied || !self.tensors.iter().any(|tensor| tensor.name == HEAD) {
            return Ok(());
        }
        match self.plain(EMBEDDING)? == self.plain(HEAD)? {
            true => Ok(()),
            false => Err(Error::Tensor {
                path: self.file_of(HEAD),
                tensor: HEAD.to_string(),
                expected: format!("the values of {EMBEDDING}, since tie_word_embeddings is true"),
                got: "others".into(),
                advice: "Set tie_word_embeddings to false in config.json, or remove the tensor".into(),
            }),
        }
    }

    fn file_of(&self, name: &str) -> PathBuf {
        let listed = self.tensors.iter().find(|tensor| tensor.name == name);
        listed.map_or_else(|| self.source.path.clone(), |tensor| tensor.file.clone())
    }
}

impl Tensors for Header {
    fn names(&self) -> Vec<String> {
        layout(&self.model).into_iter().map(|(name, _)| name).collect()
    }

    fn tensor(&self, name: &str) -> Result<Option<Cow<'_, Tensor>>, Error> {
        let held = self.names().iter().any(|held| held == name);
        held.then(|| self.value(name).map(Cow::Owned)).transpose()
    }
}

/// A directory is Hugging Face's; a file is told by its first bytes.
fn format(path: &Path) -> Result<Format, Error> {
    let metadata = fs::metadata(path).map_err(Error::io("open", path))?;
    if metadata.is_dir() {
        return Ok(Format::HuggingFace);
    }
    let no_model = |found: String, advice| Err(Error::NoModel { path: path.to_path_buf(), found, advice });
    if !metadata.is_file() {
        return no_model("neither a file nor a directory".into(), "Give a directory or a .gguf file");
    }
    let mut magic = Vec::new();
    let file = fs::File::open(path).map_err(Error::io("open", path))?;
    file.take(4).read_to_end(&mut magic).map_err(Error::io("read", path))?;
    if magic == b"GGUF" {
        return Ok(Format::Gguf);
    }
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("safetensors" | "json") => no_model("one file of a model".into(), "Give the directory that holds it"),
        _ => no_model(
            format!("a file that does not begin with GGUF, but with {:?}", String::from_utf8_lossy(&magic)),
            "Give a .gguf file, or a directory with config.json and safetensors files",
        ),
    }
}

fn no_tokenizer(source: &Source) -> Error {
    let (found, advice) = match source.format {
        Format::HuggingFace => ("no tokenizer.json", "Fetch it into this directory; text cannot be read without it"),
        Format::Gguf => ("a GGUF file without a vocabulary", "Use a file that holds its tokenizer"),
    };
    Error::NoModel { path: source.path.clone(), found: found.into(), advice }
}
