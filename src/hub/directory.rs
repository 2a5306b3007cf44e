//! The weights of a Hugging Face directory: `model.safetensors`, or shards and their index.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::bitsandbytes::{self, Quantised};
use super::error::Error;
use super::listed::Listed;
use super::tensor_file::{Entry, TensorFile};
use super::weights::Tensor;

/// The file that holds all weights when there is one only.
pub(super) const SINGLE: &str = "model.safetensors";
/// The file that says which shard holds which tensor.
pub(super) const INDEX: &str = "model.safetensors.index.json";
/// The model's configuration.
pub(super) const CONFIG: &str = "config.json";

/// What marks a directory that holds an adapter only.
pub(super) const ADAPTER: &str = "adapter_config.json";

/// The open weight files of a directory, and which of them holds which tensor.
#[derive(Debug)]
pub(super) struct Directory {
    files: Vec<TensorFile>,
    places: HashMap<String, usize>,
    /// Weights in 4 bits, each of which is several tensors of the files.
    quantised: BTreeMap<String, Quantised>,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Directory {
    /// Opens every weight file; as in transformers, `model.safetensors` goes before an index.
    pub(super) fn open(dir: &Path) -> Result<Self, Error> {
        let (single, index) = (dir.join(SINGLE), dir.join(INDEX));
        if single.symlink_metadata().is_ok() {
            let file = TensorFile::open(&single)?;
            let places = file.names().map(|name| (name.to_string(), 0)).collect();
            return Self::of(vec![file], places);
        }
        if index.symlink_metadata().is_ok() {
            return Self::sharded(dir, &index);
        }
        Err(no_weights(dir)?)
    }

    fn sharded(dir: &Path, path: &Path) -> Result<Self, Error> {
        let text = fs::read(path).map_err(Error::io("read", path))?;
        let index: Index = serde_json::from_slice(&text).map_err(Error::json(path))?;
        let names: BTreeSet<&String> = index.weight_map.values().collect();
        let mut files = Vec::with_capacity(names.len());
        for name in &names {
            files.push(open_shard(dir, path, name, &index)?);
        }
        let order: HashMap<&String, usize> = names.into_iter().zip(0..).collect();
        let mut places = HashMap::new();
        for (place, file) in files.iter().enumerate() {
            places.extend(file.names().map(|name| (name.to_string(), place)));
        }
        for (tensor, file) in &index.weight_map {
            let place = order[file];
            if files[place].shape(tensor).is_none() {
                return Err(absent(files[place].path(), tensor));
            }
            places.insert(tensor.clone(), place);
        }
        Self::of(files, places)
    }

    fn of(files: Vec<TensorFile>, places: HashMap<String, usize>) -> Result<Self, Error> {
        let mut directory = Self { files, places, quantised: BTreeMap::new() };
        directory.quantised = bitsandbytes::find(&directory)?;
        Ok(directory)
    }

    /// The names of all tensors in the files.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    /// One of the files, for errors about what none of them holds.
    pub(super) fn path(&self) -> &Path {
        self.files.first().map_or(Path::new(""), TensorFile::path)
    }

    /// The file that holds a tensor.
    pub(super) fn holder(&self, name: &str) -> Option<&TensorFile> {
        self.places.get(name).map(|&place| &self.files[place])
    }

    /// All tensors but the tables of inverse frequencies that old checkpoints carry; a weight in 4 bits is one tensor.
    pub(super) fn listed(&self) -> Vec<Listed> {
        let mut listed = Vec::with_capacity(self.places.len());
        for (place, file) in self.files.iter().enumerate() {
            let own = file.entries().iter().filter(|entry| self.places[&entry.name] == place);
            let weights = own.filter(|entry| {
                !entry.name.ends_with("rotary_emb.inv_freq")
                    && bitsandbytes::owner(&entry.name).is_none_or(|weight| !self.quantised.contains_key(weight))
            });
            listed.extend(weights.map(|Entry { name, info }| {
                let (shape, dtype) = match self.quantised.get(name) {
                    Some(quantised) => (quantised.shape().to_vec(), "NF4".to_string()),
                    None => (info.shape.clone(), info.dtype.to_string()),
                };
                Listed { name: name.clone(), shape, dtype, file: file.path().to_path_buf() }
            }));
        }
        listed
    }

    /// A tensor's values.
    pub(super) fn tensor(&self, dir: &Path, name: &str) -> Result<Tensor, Error> {
        match (self.quantised.get(name), self.holder(name)) {
            (Some(quantised), _) => quantised.read(self),
            (None, Some(file)) => file.f32(name),
            (None, None) => Err(absent(dir, name)),
        }
    }
}

fn open_shard(dir: &Path, index: &Path, name: &str, map: &Index) -> Result<TensorFile, Error> {
    let plain = matches!(Path::new(name).components().collect::<Vec<_>>()[..], [Component::Normal(_)]);
    if !plain || name.contains('\\') {
        return Err(Error::Damaged {
            path: index.to_path_buf(),
            what: "weight_map".into(),
            expected: "names of files in the same directory".into(),
            got: format!("{name:?}"),
            advice: "Do not use this index: it points outside its directory".into(),
        });
    }
    let path = dir.join(name);
    if path.exists() || path.symlink_metadata().is_ok() {
        return TensorFile::open(&path);
    }
    let held = map.weight_map.values().filter(|file| *file == name).count();
    Err(Error::Damaged {
        path: index.to_path_buf(),
        what: "weight_map".into(),
        expected: format!("the shard {name} with {held} tensors beside it"),
        got: "no such file".into(),
        advice: format!("Fetch {} again", path.display()).into(),
    })
}

fn absent(path: &Path, tensor: &str) -> Error {
    Error::Tensor {
        path: path.to_path_buf(),
        tensor: tensor.to_string(),
        expected: "it here, as the index says".into(),
        got: "a file without it".into(),
        advice: "Fetch this file and the index again, from the same version of the model".into(),
    }
}

/// The error for a directory without weights, which says what is there instead.
fn no_weights(dir: &Path) -> Result<Error, Error> {
    let names = file_names(dir)?;
    if names.iter().any(|name| name == ADAPTER) {
        return Ok(only_adapter(dir));
    }
    let other = names.iter().find(|name| name.ends_with(".bin") || name.ends_with(".pth"));
    let (found, advice) = match other {
        Some(name) => (
            format!("neither {SINGLE} nor {INDEX}, but {name}"),
            "Convert it: in transformers, from_pretrained and then save_pretrained writes safetensors",
        ),
        None => (format!("neither {SINGLE} nor {INDEX}"), "Fetch the model's safetensors files into this directory"),
    };
    Ok(Error::NoModel { path: dir.to_path_buf(), found, advice })
}

/// The error for a directory without `config.json`, which says what is there instead.
pub(super) fn no_config(dir: &Path) -> Result<Error, Error> {
    let names = file_names(dir)?;
    let gguf = names.iter().find(|name| name.ends_with(".gguf"));
    let (found, advice) = match gguf {
        _ if names.is_empty() => ("an empty directory".to_string(), "Fetch a model into it, or check the path"),
        Some(name) => (format!("no {CONFIG}, but {name}"), "Give the path of the .gguf file itself"),
        None if names.iter().any(|name| name == ADAPTER) => return Ok(only_adapter(dir)),
        None => (format!("no {CONFIG}"), "Give the directory that holds config.json and the safetensors files"),
    };
    Ok(Error::NoModel { path: dir.to_path_buf(), found, advice })
}

/// The error for an adapter in a model's place, with the base's name where the adapter knows it.
fn only_adapter(dir: &Path) -> Error {
    let text = fs::read(dir.join(ADAPTER)).unwrap_or_default();
    let keys: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    let base = keys["base_model_name_or_path"].as_str().map(|name| format!(" of {name}")).unwrap_or_default();
    let found = format!("an adapter{base} ({ADAPTER}), no whole model");
    Error::NoModel {
        path: dir.to_path_buf(),
        found,
        advice: "Give its base as --model, and this directory as --adapter",
    }
}

fn file_names(dir: &Path) -> Result<Vec<String>, Error> {
    let entries = fs::read_dir(dir).map_err(Error::io("read", dir))?;
    let mut names: Vec<String> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}

/// Whether a file name is one of those that hold weights or their index.
pub(super) fn is_weight_file(name: &str) -> bool {
    let digits = |part: &str| part.len() == 5 && part.bytes().all(|byte| byte.is_ascii_digit());
    let shard = name
        .strip_prefix("model-")
        .and_then(|rest| rest.strip_suffix(".safetensors"))
        .and_then(|numbers| numbers.split_once("-of-"));
    name == SINGLE || name == INDEX || shard.is_some_and(|(place, count)| digits(place) && digits(count))
}

/// The name of a shard: `model-00001-of-00003.safetensors`, or `model.safetensors` when there is one only.
pub(super) fn shard_name(place: usize, count: usize) -> PathBuf {
    if count == 1 { SINGLE.into() } else { format!("model-{:05}-of-{count:05}.safetensors", place + 1).into() }
}
