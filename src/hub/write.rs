//! Writing a Hugging Face directory.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use recipe_core::{HfConfig, Llama, RopePlan};
use serde_json::{Map, Value, json};

use super::directory::{CONFIG, INDEX, shard_name};
use super::dtype::Dtype;
use super::error::Error;
use super::export::{Rounding, compare};
use super::layout::{HEAD, layout};
use super::read::Header;
use super::replace::replace;
use super::save::{check_lengths, write_file};
use super::staging::{Staged, parent, sync_directory, write_synced};
use super::tokenizer::{GENERATION, Tokenizer};
use super::weights::View;

/// How a checkpoint is written.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// The number format of all tensors.
    pub dtype: Dtype,
    /// The tokenizer whose files go with the model.
    pub tokenizer: Option<&'a Tokenizer>,
    /// The most bytes of tensors in one file; a single larger tensor gets a file of its own.
    pub max_shard_bytes: u64,
    /// The window that the tokenizer's settings promise; the configuration's where this is none. Under a dynamic law that one
    /// stays the native window.
    pub window: Option<usize>,
    /// Names and bytes of what else goes into the directory: the model card.
    pub files: &'a [(String, Vec<u8>)],
}

impl Default for Options<'_> {
    /// BF16, no tokenizer, files of 5 GB.
    fn default() -> Self {
        Self { dtype: Dtype::BF16, tokenizer: None, max_shard_bytes: 5_000_000_000, window: None, files: &[] }
    }
}

/// Writes a model as a Hugging Face directory: configuration with both spellings of rope, weights, index, tokenizer.
/// A tied `lm_head.weight` is left out. Every tensor is read back and compared before the model takes its place.
///
/// A new directory appears whole or not at all. In an existing one all files are written and synced aside first; a
/// failure until then leaves the earlier model as it was. Then they take its place and its other weight files are
/// removed; a run that dies in between is taken up by the next [`Header::open`](super::Header::open) or `write`
/// there. Files of other kinds stay.
///
/// # Errors
/// [`Error::Config`] for a configuration that describes no Llama; [`Error::Tensor`] for a tensor that it does not
/// describe, or with a value that the number format cannot hold; [`Error::Io`].
pub fn write<'t>(
    dir: &Path,
    config: &HfConfig,
    tensors: impl IntoIterator<Item = View<'t>>,
    options: &Options<'_>,
) -> Result<(), Error> {
    let (config, model) = settled(dir, config, options.dtype)?;
    let tensors = ordered(dir, &model, tensors)?;
    check_values(dir, &tensors, options.dtype)?;
    let exists = dir.symlink_metadata().is_ok();
    let staged = if exists { Staged::beside(&dir.join("model")) } else { Staged::beside(dir) };
    fs::create_dir_all(parent(dir)).map_err(Error::io("create", parent(dir)))?;
    write_all(staged.path(), &config, &model, &tensors, options)?;
    read_back(staged.path(), &tensors, options.dtype)?;
    if exists { replace(staged, dir) } else { staged.put(dir) }
}

/// The configuration as it is written: both spellings of rope, and the number format.
fn settled(dir: &Path, config: &HfConfig, dtype: Dtype) -> Result<(HfConfig, Llama), Error> {
    let model = config.llama().map_err(|source| Error::Config { path: dir.join(CONFIG), source })?;
    let mut config = config.clone();
    let (old, new) = (config.get("rope_scaling"), config.get("rope_parameters"));
    if old.is_none_or(Value::is_null) || old != new {
        config = config.with_rope(&RopePlan::native(&model), model.context);
    }
    // transformers 4 reads the one, transformers 5 the other.
    config.set("dtype", dtype.torch_name().into());
    config.set("torch_dtype", dtype.torch_name().into());
    Ok((config, model))
}

/// The tensors in the order of the model, each of the shape that the configuration asks for.
pub(super) fn ordered<'t>(
    dir: &Path,
    model: &Llama,
    tensors: impl IntoIterator<Item = View<'t>>,
) -> Result<Vec<View<'t>>, Error> {
    let mut given: HashMap<&str, View<'t>> = tensors.into_iter().map(|view| (view.0, view)).collect();
    if model.tied {
        given.remove(HEAD);
    }
    let mut views = Vec::with_capacity(given.len());
    let mut errors = Vec::new();
    for (name, shape) in layout(model) {
        match given.remove(name.as_str()) {
            Some(view) if view.1 == shape => views.push(view),
            other => {
                let got = other.map_or("nothing of that name".to_string(), |view| format!("{:?}", view.1));
                errors.push(unfit(dir, &name, format!("shape {shape:?}"), got));
            }
        }
    }
    errors.extend(
        given.values().map(|(name, shape, _)| {
            unfit(dir, name, "no such tensor in this Llama model".into(), format!("{shape:?}"))
        }),
    );
    Error::all(dir, errors)?;
    check_lengths(dir, &views)?;
    Ok(views)
}

fn unfit(dir: &Path, name: &str, expected: String, got: String) -> Error {
    Error::Tensor {
        path: dir.to_path_buf(),
        tensor: name.to_string(),
        expected,
        got,
        advice: "Write the model with the configuration that belongs to it".into(),
    }
}

/// Refuses what could not be read again: values that are not finite, here or in the number format.
pub(super) fn check_values(dir: &Path, tensors: &[View<'_>], dtype: Dtype) -> Result<(), Error> {
    for (name, _, data) in tensors {
        if let Some(value) = data.iter().find(|value| !value.is_finite() || !dtype.holds(**value)) {
            let advice = if value.is_finite() {
                "Write it as BF16 or F32"
            } else {
                "The model diverged; go back to an earlier checkpoint"
            };
            return Err(Error::Tensor {
                path: dir.to_path_buf(),
                tensor: name.to_string(),
                expected: format!("values that {} holds, up to ±{:e}", dtype.tag(), dtype.max()),
                got: value.to_string(),
                advice: advice.into(),
            });
        }
    }
    Ok(())
}

/// Writes and syncs every file into a directory that nobody reads yet.
fn write_all(
    at: &Path,
    config: &HfConfig,
    model: &Llama,
    tensors: &[View<'_>],
    options: &Options<'_>,
) -> Result<(), Error> {
    fs::create_dir(at).map_err(Error::io("create", at))?;
    let shards = shards(tensors, options.dtype, options.max_shard_bytes);
    for (place, shard) in shards.iter().enumerate() {
        let path = at.join(shard_name(place, shards.len()));
        write_file(&path, shard, options.dtype, &[("format", "pt")]).map_err(Error::io("write", &path))?;
    }
    let mut files = BTreeMap::from([
        (CONFIG.to_string(), config.to_json().into_bytes()),
        (GENERATION.to_string(), generation(config).into_bytes()),
    ]);
    if shards.len() > 1 {
        files.insert(INDEX.to_string(), index(&shards, options.dtype).into_bytes());
    }
    if let Some(tokenizer) = options.tokenizer {
        files.extend(tokenizer.contents(Some(options.window.unwrap_or(model.context)))?);
    }
    files.extend(options.files.iter().cloned());
    for (name, bytes) in files {
        let path = at.join(name);
        write_synced(&path, &bytes).map_err(Error::io("write", &path))?;
    }
    sync_directory(at)
}

/// Opens what was written as any reader would, and holds every tensor to what it was.
fn read_back(at: &Path, tensors: &[View<'_>], dtype: Dtype) -> Result<(), Error> {
    let header = Header::open(at)?;
    Error::all(at, header.mismatches())?;
    tensors.iter().try_for_each(|&view| compare(at, view, &header.plain(view.0)?.data, Rounding::Nearest(dtype)))
}

/// Runs of tensors that stay below the limit, in order, as transformers cuts them.
fn shards<'a, 't>(tensors: &'a [View<'t>], dtype: Dtype, limit: u64) -> Vec<&'a [View<'t>]> {
    let mut shards = Vec::new();
    let (mut begin, mut held) = (0, 0_u64);
    for (place, (_, _, data)) in tensors.iter().enumerate() {
        let bytes = (data.len() * dtype.bytes()) as u64;
        if place > begin && held.saturating_add(bytes) > limit {
            shards.push(&tensors[begin..place]);
            (begin, held) = (place, 0);
        }
        held = held.saturating_add(bytes);
    }
    shards.push(&tensors[begin..]);
    shards
}

fn index(shards: &[&[View<'_>]], dtype: Dtype) -> String {
    let values: usize = shards.iter().flat_map(|shard| shard.iter()).map(|(_, _, data)| data.len()).sum();
    let mut map = BTreeMap::new();
    for (place, shard) in shards.iter().enumerate() {
        let file = shard_name(place, shards.len()).to_string_lossy().into_owned();
        map.extend(shard.iter().map(|(name, _, _)| (name.to_string(), file.clone())));
    }
    let index = json!({
        "metadata": { "total_parameters": values, "total_size": values * dtype.bytes() },
        "weight_map": map,
    });
    format!("{index:#}\n")
}

/// What transformers derives from a configuration when it saves a model.
fn generation(config: &HfConfig) -> String {
    let mut keys = Map::new();
    keys.insert("_from_model_config".into(), true.into());
    for key in ["bos_token_id", "eos_token_id", "pad_token_id"] {
        if let Some(id) = config.get(key).filter(|id| !id.is_null()) {
            keys.insert(key.into(), id.clone());
        }
    }
    format!("{:#}\n", Value::Object(keys))
}
