//! The three forms that a model leaves in.

use std::fs;
use std::path::{Path, PathBuf};

use recipe_core::{AdaptPlan, HfConfig};

use super::source::{Origin, Source};
use crate::cli::args::{ExportArgs, Served, Storage};
use crate::hub::{self, AdapterConfig, Dtype, GgufOptions, GgufType};
use crate::report::{Card, Exported, peers};
use crate::train::{GATES_FILE, gates_text};
use crate::{Error, Result};

/// What was written and what is to be said of it.
pub(super) struct Written {
    pub(super) out: PathBuf,
    /// Names and bytes.
    pub(super) files: Vec<(String, u64)>,
    /// What the number format did.
    pub(super) rounding: &'static str,
    /// What other programs do differently.
    pub(super) peers: Vec<String>,
}

/// A Hugging Face directory, adapters merged.
pub(super) fn hf(source: &Source, args: &ExportArgs, dtype: Storage) -> Result<Written> {
    let config = configured(source, args)?;
    let peers = peers(&source.shown, &config, Exported::Hf);
    let mut files = vec![("README.md".to_owned(), card(source, Exported::Hf, dtype, &peers))];
    files.extend(gates(source));
    let options = hub::Options {
        dtype: dtype.plain(),
        tokenizer: source.tokenizer.as_ref(),
        max_shard_bytes: args.shard_size,
        window: Some(source.plan.target),
        files: &files,
    };
    hub::write(&args.out, &config, source.weights.views(), &options)?;
    if source.gates.is_none() {
        remove(&args.out.join(GATES_FILE))?;
    }
    written(&args.out, dtype, peers)
}

/// PEFT's directory, with the configuration that the base needs beside it.
pub(super) fn adapter(source: &Source, args: &ExportArgs, dtype: Storage) -> Result<Written> {
    let AdaptPlan::Lora { rank, alpha, rslora, targets, dropout, .. } = &source.plan.adapt else {
        return Err(Error::usage(format!("the recipe `{}` has no adapters", source.plan.name)));
    };
    let config = configured(source, args)?;
    let mut peers = peers(&source.shown, &config, Exported::Adapter);
    if let Origin::Run { first: Some(first), .. } = &source.origin {
        let first = first.display();
        peers.push(format!(
            "The base has the adapter {first} merged into it, which PEFT has to merge before it loads this one."
        ));
    }
    let mut files = vec![
        ("config.json".to_owned(), config.to_json().into_bytes()),
        ("README.md".to_owned(), card(source, Exported::Adapter, dtype, &peers)),
    ];
    files.extend(gates(source));
    let base = source.base().display().to_string();
    let adapter = AdapterConfig {
        base: &base,
        rank: *rank,
        alpha: *alpha,
        rslora: *rslora,
        dropout: *dropout,
        targets: targets.iter().map(|target| target.name()).collect(),
        tied: source.plan.model.tied,
    };
    hub::write_adapter(&args.out, &adapter, &source.weights, dtype.plain(), &files)?;
    written(&args.out, dtype, peers)
}

/// One GGUF file.
pub(super) fn gguf(source: &Source, args: &ExportArgs, dtype: Storage) -> Result<Written> {
    let config = configured(source, args)?;
    let kind = dtype.gguf();
    let is_file = args.out.extension().is_some_and(|extension| extension == "gguf");
    let path =
        if is_file { args.out.clone() } else { args.out.join(format!("{}-{}.gguf", source.plan.name, kind.name())) };
    let options = GgufOptions { kind, name: &source.plan.name, tokenizer: source.tokenizer.as_ref() };
    let lost = hub::write_gguf(&path, &config, source.weights.views(), &options)?;
    let mut peers = peers(&source.shown, &config, Exported::Gguf);
    peers.extend(lost);
    written(&path, dtype, peers)
}

/// The base's configuration with the recipe's rope, window and attention.
fn configured(source: &Source, args: &ExportArgs) -> Result<HfConfig> {
    let (plan, shown) = (&source.plan, &source.shown);
    let layers: Vec<_> = shown.inference_layers().collect();
    let config = source.config.clone().with_rope(&plan.rope, plan.target);
    let mut config = match args.attention {
        Served::Family => config.with_attention(&shown.layers),
        Served::Ministral => config.as_ministral(&layers).map_err(|reason| {
            Error::usage(format!(
                "this model cannot be served as a Ministral: {reason}. Leave `--attention ministral` out"
            ))
        })?,
    };
    // Other programs keep a key that they do not know; what the model was trained for stays with it.
    config.set("context_recipe_attention", serde_json::to_value(&shown.layers).unwrap_or_default());
    Ok(config)
}

/// Gates stand beside the model that they belong to.
fn gates(source: &Source) -> Option<(String, Vec<u8>)> {
    source.gates.as_ref().map(|gates| (GATES_FILE.to_owned(), gates_text(gates).into_bytes()))
}

fn card(source: &Source, form: Exported, dtype: Storage, peers: &[String]) -> Vec<u8> {
    let metrics = match &source.origin {
        Origin::Run { metrics, .. } => metrics.as_slice(),
        Origin::Model(_) => &[],
    };
    let card = Card {
        plan: &source.plan,
        form,
        base: &source.base_name(),
        weights: &source.words(),
        dtype: dtype.word(),
        metrics,
        evaluation: source.evaluation.as_ref(),
        peers,
    };
    card.markdown().into_bytes()
}

fn written(out: &Path, dtype: Storage, peers: Vec<String>) -> Result<Written> {
    let rounding = match dtype {
        Storage::F32 => "",
        Storage::Bf16 | Storage::F16 => ", rounded once",
        Storage::Q8_0 => ", within the step of its block",
    };
    Ok(Written { out: out.to_path_buf(), files: sizes(out)?, rounding, peers })
}

/// Of a file, or of the files in a directory, by name.
fn sizes(out: &Path) -> Result<Vec<(String, u64)>> {
    let cannot = |error: std::io::Error| Error::usage(format!("{}: {error}", out.display()));
    if out.is_file() {
        let name = out.file_name().unwrap_or_default().to_string_lossy().into_owned();
        return Ok(vec![(name, fs::metadata(out).map_err(cannot)?.len())]);
    }
    let mut sizes = Vec::new();
    for entry in fs::read_dir(out).map_err(cannot)?.flatten() {
        let length = entry.metadata().map_err(cannot)?.len();
        sizes.push((entry.file_name().to_string_lossy().into_owned(), length));
    }
    sizes.sort();
    Ok(sizes)
}

/// Gates of an earlier export do not stay beside a model that has none.
fn remove(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if file.exists() => Err(Error::usage(format!("{}: {error}", file.display()))),
        _ => Ok(()),
    }
}

impl Storage {
    fn word(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
            Self::Q8_0 => "q8_0",
        }
    }

    /// As safetensors keeps it; blocks are refused before.
    fn plain(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::F16 => Dtype::F16,
            Self::Bf16 | Self::Q8_0 => Dtype::BF16,
        }
    }

    fn gguf(self) -> GgufType {
        match self {
            Self::F32 => GgufType::F32,
            Self::F16 => GgufType::F16,
            Self::Bf16 => GgufType::Bf16,
            Self::Q8_0 => GgufType::Q8_0,
        }
    }
}
