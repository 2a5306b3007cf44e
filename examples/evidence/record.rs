//! What was found: one file for each claim, arm and seed, written whole when it is done.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::arm::Arm;

/// One arm under one seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) claim: String,
    pub(crate) arm: String,
    pub(crate) seed: u64,
    /// The commit that it was measured at.
    pub(crate) commit: String,
    /// Of the setting; another one is stale.
    pub(crate) digest: String,
    /// In words.
    pub(crate) setting: Vec<String>,
    pub(crate) cost: Cost,
    /// Loss and recall, reading by reading.
    pub(crate) readings: Vec<Found>,
    /// Everything else that is one number.
    pub(crate) values: BTreeMap<String, f64>,
}

/// What it took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cost {
    /// Wall-clock time of training, in the last of several calls.
    pub(crate) train_seconds: f64,
    /// Of all.
    pub(crate) seconds: f64,
    /// Time of all cores in training, which other work beside it stretches little; 0 where the system does not tell.
    #[serde(default)]
    pub(crate) train_cpu_seconds: f64,
    /// Of all.
    #[serde(default)]
    pub(crate) cpu_seconds: f64,
    /// Floating-point operations of training, counted by the plan.
    pub(crate) train_flops: f64,
    /// Tokens trained on.
    pub(crate) tokens: u64,
    /// The most that the device held in training.
    pub(crate) peak_bytes: u64,
    /// Threads and vector width.
    pub(crate) machine: String,
    /// Whether other work ran beside it, as far as the load average tells.
    pub(crate) loaded: bool,
}

/// One reading at one length.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Found {
    pub(crate) reading: String,
    /// Training steps before it.
    pub(crate) steps: usize,
    pub(crate) context: usize,
    /// Mean nll inside the native window, in nats.
    pub(crate) in_window: f64,
    /// Mean nll of the last quarter of positions.
    pub(crate) last: f64,
    /// Share of the keys recalled.
    pub(crate) recall: f64,
    /// Of those at each depth: 0, 25, 50, 75, 100 %.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) depths: Vec<f64>,
    /// The effective window, where it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) k_max: Option<usize>,
    /// (position, mean nll).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) curve: Vec<(f64, f64)>,
}

impl Record {
    /// `docs/evidence/CLAIM.ARM.SEED.json`.
    pub(crate) fn path(folder: &Path, claim: &str, arm: &str, seed: u64) -> PathBuf {
        folder.join(format!("{claim}.{arm}.{seed}.json"))
    }

    /// Beside its place first, then in its place.
    pub(crate) fn write(&self, folder: &Path) -> Result<PathBuf, String> {
        let path = Self::path(folder, &self.claim, &self.arm, self.seed);
        let said = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let text = readable(&serde_json::to_value(self).map_err(|error| said(&error))?);
        let beside = path.with_extension("json.part");
        fs::create_dir_all(folder).map_err(|error| said(&error))?;
        fs::write(&beside, text).map_err(|error| said(&error))?;
        fs::rename(&beside, &path).map_err(|error| said(&error))?;
        Ok(path)
    }

    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// All files of a folder, by name.
    pub(crate) fn all(folder: &Path) -> Result<Vec<Self>, String> {
        let Ok(files) = fs::read_dir(folder) else { return Ok(vec![]) };
        let mut paths: Vec<PathBuf> = files.filter_map(|file| Some(file.ok()?.path())).collect();
        paths.retain(|path| path.extension().is_some_and(|kind| kind == "json"));
        paths.sort();
        paths.iter().map(|path| Self::read(path)).collect()
    }

    /// Whether it is what `arm` would measure now.
    pub(crate) fn is_of(&self, arm: &Arm) -> bool {
        self.digest == arm.digest()
    }
}

/// A line for each key, and for each entry of a list of objects: few lines, and differences that can be read.
fn readable(value: &Value) -> String {
    let Value::Object(entries) = value else { return format!("{value}\n") };
    let lines: Vec<String> = entries
        .iter()
        .map(|(key, value)| match value {
            Value::Array(items) if items.len() > 1 || items.iter().any(Value::is_object) => {
                let items: Vec<String> = items.iter().map(|item| format!("    {item}")).collect();
                format!("  \"{key}\": [\n{}\n  ]", items.join(",\n"))
            }
            value => format!("  \"{key}\": {value}"),
        })
        .collect();
    format!("{{\n{}\n}}\n", lines.join(",\n"))
}

/// Six significant digits: what a figure is worth, and no more.
pub(crate) fn rounded(value: f64) -> f64 {
    if !value.is_finite() { value } else { format!("{value:.5e}").parse().unwrap_or(value) }
}
