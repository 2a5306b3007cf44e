//! An adapter as PEFT keeps it: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! PEFT puts `base_model.model.` before a module's path; what learned in full (`modules_to_save`) has plain names behind it.
//! The rotary law is no part of an adapter, so the changed `config.json` stands beside it.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::rounding::{Rounding, compare};
use crate::hub::dtype::Dtype;
use crate::hub::error::Error;
use crate::hub::layout::{EMBEDDING, HEAD};
use crate::hub::save::{check_lengths, write_file};
use crate::hub::staging::{Staged, parent, save_bytes, sync_directory, write_synced};
use crate::hub::tensor_file::TensorFile;
use crate::hub::weights::{View, Weights};

/// Marks a directory that holds an adapter, for PEFT and here; it comes last and goes first.
pub(super) const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
const PREFIX: &str = "base_model.model.";

/// What `adapter_config.json` says.
#[derive(Clone, Debug)]
pub struct AdapterConfig<'a> {
    /// Where the base model is.
    pub base: &'a str,
    /// `r`.
    pub rank: usize,
    /// `lora_alpha`.
    pub alpha: f64,
    /// Alpha over √rank.
    pub rslora: bool,
    /// `lora_dropout`.
    pub dropout: f64,
    /// Names of the adapted modules.
    pub targets: Vec<&'a str>,
    /// The head is the embedding, and both learn.
    pub tied: bool,
}

/// Writes an adapter's directory: what learned (by Hugging Face name, adapters as `….lora_A.weight`), what PEFT needs to know
/// about it, and `files` beside them. All of it is read back and compared before it takes its place.
///
/// A new directory appears whole or not at all. In one that holds an earlier adapter each file is whole or absent, and
/// `adapter_config.json`, without which PEFT loads nothing, is absent until all others are there.
///
/// # Errors
/// [`Error::NoModel`] when the directory holds something else; [`Error::Tensor`] for shapes that lie and for values that are
/// not finite; [`Error::Io`].
pub fn write_adapter(
    dir: &Path,
    adapter: &AdapterConfig<'_>,
    trained: &Weights,
    dtype: Dtype,
    files: &[(String, Vec<u8>)],
) -> Result<(), Error> {
    let exists = refuse_strangers(dir)?;
    // A tied head is a module of its own to PEFT, which looks for it beside the embedding.
    let head = trained.views().find(|(name, ..)| adapter.tied && *name == EMBEDDING).map(|view| (HEAD, view.1, view.2));
    let all: Vec<View<'_>> = trained.views().chain(head).collect();
    let named: Vec<String> = all.iter().map(|(name, ..)| format!("{PREFIX}{name}")).collect();
    let views: Vec<View<'_>> =
        named.iter().zip(&all).map(|(name, (_, shape, data))| (name.as_str(), *shape, *data)).collect();
    check_lengths(dir, &views)?;
    crate::hub::write::check_values(dir, &views, dtype)?;
    let config = format!("{:#}\n", adapter.config(trained)).into_bytes();
    fs::create_dir_all(parent(dir)).map_err(Error::io("create", parent(dir)))?;
    let staged = if exists { Staged::beside(&dir.join("adapter")) } else { Staged::beside(dir) };
    let at = staged.path();
    fs::create_dir(at).map_err(Error::io("create", at))?;
    let path = at.join(WEIGHTS);
    write_file(&path, &views, dtype, &[("format", "pt")]).map_err(Error::io("write", &path))?;
    read_back(&path, &views, dtype)?;
    for (name, bytes) in files.iter().map(|(name, bytes)| (name.as_str(), bytes)).chain([(CONFIG, &config)]) {
        let path = at.join(name);
        write_synced(&path, bytes).map_err(Error::io("write", &path))?;
    }
    sync_directory(at)?;
    if exists { replace(staged, dir, files, &config) } else { staged.put(dir) }
}

/// Whether an adapter is there already. Anything else that is there is not touched.
fn refuse_strangers(dir: &Path) -> Result<bool, Error> {
    if dir.symlink_metadata().is_err() {
        return Ok(false);
    }
    let mut entries = fs::read_dir(dir).map_err(Error::io("read", dir))?;
    if entries.next().is_none() || dir.join(CONFIG).exists() || dir.join(WEIGHTS).exists() {
        return Ok(true);
    }
    Err(Error::NoModel {
        path: dir.to_path_buf(),
        found: format!("files, but no {CONFIG}"),
        advice: "An adapter's config.json would take the place of another; give a new directory",
    })
}

/// Moves the staged files in, the one that makes an adapter of them last.
fn replace(staged: Staged, dir: &Path, files: &[(String, Vec<u8>)], config: &[u8]) -> Result<(), Error> {
    match fs::remove_file(dir.join(CONFIG)) {
        Err(reason) if reason.kind() != std::io::ErrorKind::NotFound => return Err(Error::io("replace", dir)(reason)),
        _ => {}
    }
    for name in files.iter().map(|(name, _)| name.as_str()).chain([WEIGHTS]) {
        let place = dir.join(name);
        fs::rename(staged.path().join(name), &place).map_err(Error::io("replace", &place))?;
    }
    save_bytes(&dir.join(CONFIG), config)
}

fn read_back(path: &Path, views: &[View<'_>], dtype: Dtype) -> Result<(), Error> {
    let file = TensorFile::open(path)?;
    views.iter().try_for_each(|&view| compare(path, view, &file.f32(view.0)?.data, Rounding::Nearest(dtype)))
}

impl AdapterConfig<'_> {
    /// Keys sorted, as PEFT writes them.
    fn config(&self, trained: &Weights) -> Value {
        let mut targets = self.targets.clone();
        targets.sort_unstable();
        let saved = saved_modules(trained);
        let tied = self.tied && saved.contains(&"embed_tokens");
        json!({
            "alpha_pattern": {},
            "auto_mapping": null,
            "base_model_name_or_path": self.base,
            "bias": "none",
            "ensure_weight_tying": tied,
            "fan_in_fan_out": false,
            "inference_mode": true,
            "init_lora_weights": true,
            "layers_pattern": null,
            "layers_to_transform": null,
            "lora_alpha": whole(self.alpha),
            "lora_dropout": self.dropout,
            "modules_to_save": if saved.is_empty() { Value::Null } else { saved.into() },
            "peft_type": "LORA",
            "r": self.rank,
            "rank_pattern": {},
            "revision": null,
            "target_modules": targets,
            "task_type": "CAUSAL_LM",
            "use_dora": false,
            "use_rslora": self.rslora,
        })
    }
}

/// A whole number without its point, since older readers take no other alpha.
fn whole(alpha: f64) -> Value {
    if alpha.fract() == 0.0 && alpha.abs() < 1e15 { (alpha as i64).into() } else { alpha.into() }
}

/// What learned in full, by the ends of module paths that PEFT looks for; `norm` alone would mean every norm.
fn saved_modules(trained: &Weights) -> Vec<&'static str> {
    const MODULES: [&str; 7] =
        ["embed_tokens", "input_layernorm", "post_attention_layernorm", "q_norm", "k_norm", "model.norm", "lm_head"];
    let learned = |module: &str| {
        trained.names().any(|name| name.strip_suffix(".weight").is_some_and(|path| path.ends_with(module)))
    };
    MODULES.into_iter().filter(|module| learned(module)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::Tensor;

    fn adapter() -> AdapterConfig<'static> {
        AdapterConfig {
            base: "b",
            rank: 2,
            alpha: 4.0,
            rslora: true,
            dropout: 0.1,
            targets: vec!["v_proj", "q_proj"],
            tied: true,
        }
    }

    fn trained(names: &[&str]) -> Weights {
        names.iter().map(|name| (name.to_string(), Tensor { shape: vec![2], data: vec![0.5, -1.0] })).collect()
    }

    const LORA: &str = "model.layers.0.self_attn.q_proj.lora_A.weight";

    fn json_of(dir: &Path) -> Value {
        serde_json::from_slice(&fs::read(dir.join(CONFIG)).unwrap()).unwrap()
    }

    #[test]
    fn names_and_keys_are_peft_s() {
        let out = tempfile::tempdir().unwrap().path().join("adapter");
        let weights =
            trained(&[LORA, "model.embed_tokens.weight", "model.norm.weight", "model.layers.0.input_layernorm.weight"]);
        write_adapter(&out, &adapter(), &weights, Dtype::F32, &[("README.md".into(), b"card".to_vec())]).unwrap();
        let file = TensorFile::open(&out.join(WEIGHTS)).unwrap();
        assert!(file.names().any(|name| name == format!("base_model.model.{LORA}")));
        assert_eq!(file.f32("base_model.model.lm_head.weight").unwrap().data, [0.5, -1.0], "the tied head");
        assert_eq!(file.metadata()["format"], "pt");
        let config = json_of(&out);
        assert_eq!(config["modules_to_save"], json!(["embed_tokens", "input_layernorm", "model.norm"]));
        assert_eq!(config["target_modules"], json!(["q_proj", "v_proj"]));
        assert_eq!((&config["lora_alpha"], &config["use_rslora"]), (&json!(4), &json!(true)));
        assert_eq!(config["ensure_weight_tying"], json!(true));
        assert_eq!(fs::read(out.join("README.md")).unwrap(), b"card");
    }

    #[test]
    fn an_earlier_adapter_is_replaced_and_a_model_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("adapter");
        let card = |text: &str| [("README.md".to_string(), text.as_bytes().to_vec())];
        write_adapter(&out, &adapter(), &trained(&[LORA, "model.norm.weight"]), Dtype::F32, &card("old")).unwrap();
        write_adapter(&out, &adapter(), &trained(&[LORA]), Dtype::F32, &card("new")).unwrap();
        assert_eq!(json_of(&out)["modules_to_save"], Value::Null);
        assert_eq!(TensorFile::open(&out.join(WEIGHTS)).unwrap().names().count(), 1);
        assert_eq!(fs::read(out.join("README.md")).unwrap(), b"new");
        assert_eq!(fs::read_dir(&out).unwrap().count(), 3, "nothing is left on its way");
        fs::write(dir.path().join("config.json"), "{}").unwrap();
        let refused = write_adapter(dir.path(), &adapter(), &trained(&[LORA]), Dtype::F32, &[]).unwrap_err();
        assert!(refused.to_string().contains("give a new directory"), "{refused}");
    }

    #[test]
    fn a_value_that_does_not_fit_leaves_nothing() {
        let out = tempfile::tempdir().unwrap().path().join("adapter");
        let mut weights = trained(&[LORA]);
        weights.get_mut(LORA).unwrap().data[1] = 1e6;
        assert!(write_adapter(&out, &adapter(), &weights, Dtype::F16, &[]).is_err());
        assert!(!out.exists());
    }
}
