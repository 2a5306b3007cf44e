//! What a run was started from, kept in its folder as `run.json`, and the lock that keeps a second process out.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use recipe_core::Plan;
use serde::{Deserialize, Serialize};

use super::{Error, Origin};
use crate::data::Corpora;
use crate::data::digest::{Digest, hex};
use crate::hub::Tensors;

/// `run.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The recipe's name.
    pub recipe: String,
    /// The model that the run starts from.
    pub model: PathBuf,
    /// The adapter that was merged into it first.
    #[serde(default)]
    pub adapter: Option<PathBuf>,
    /// The plan that it follows.
    pub plan: Plan,
    /// What a resumed run must have in common with it.
    pub origin: Origin,
}

impl Run {
    /// Describes a run of `plan` from the model at `model` with `adapter` merged into it, whose weights have the digest `base`
    /// ([`weights_digest`]), on `device`, in its own words.
    ///
    /// # Errors
    /// When a path cannot be made absolute.
    pub fn new(
        plan: &Plan,
        model: &Path,
        adapter: Option<&Path>,
        base: String,
        corpora: &Corpora,
        device: &str,
    ) -> Result<Self, Error> {
        let absolute = |path: &Path| fs::canonicalize(path).map_err(Error::file(path));
        let (model, adapter) = (absolute(model)?, adapter.map(absolute).transpose()?);
        let origin = Origin {
            plan: digest_of(plan),
            base,
            data: corpora.digest(),
            device: device.to_owned(),
            overrides: vec![],
        };
        Ok(Self { recipe: plan.name.to_string(), model, adapter, plan: plan.clone(), origin })
    }

    /// With what the command line said instead of the recipe.
    #[must_use]
    pub fn overridden(self, overrides: Vec<String>) -> Self {
        Self { origin: Origin { overrides, ..self.origin }, ..self }
    }

    /// Writes `run.json`.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn record(&self, out: &Path) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(self).unwrap_or_default();
        Ok(crate::hub::save_bytes(&out.join(FILE), text.as_bytes())?)
    }

    /// Reads a run's `run.json`.
    ///
    /// # Errors
    /// When it is not there or malformed.
    pub fn read(out: &Path) -> Result<Self, Error> {
        let path = out.join(FILE);
        let text = fs::read_to_string(&path).map_err(Error::file(&path))?;
        serde_json::from_str(&text)
            .map_err(|error| Error::Damaged { path, reason: format!("it is malformed: {error}") })
    }
}

const FILE: &str = "run.json";

/// A digest of anything that serialises.
pub fn digest_of(value: &impl Serialize) -> String {
    let text = serde_json::to_string(value).unwrap_or_default();
    hex(&Digest::of(&[text.as_bytes()]))
}

/// A digest of names and numbers of a model's weights.
///
/// # Errors
/// When a weight cannot be read.
pub fn weights_digest(weights: &dyn Tensors) -> Result<String, Error> {
    let mut digest = Digest::new();
    for name in weights.names() {
        let Some(tensor) = weights.tensor(&name)? else { continue };
        digest.update(name.as_bytes());
        for chunk in tensor.data.chunks(1 << 16) {
            let bytes: Vec<u8> = chunk.iter().flat_map(|value| value.to_le_bytes()).collect();
            digest.update(&bytes);
        }
    }
    Ok(hex(&digest.finish()))
}

/// Held while a process trains in a folder. The system lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Locks `out`, making it when needed.
    ///
    /// # Errors
    /// When another process holds it, or the folder cannot be written.
    pub fn take(out: &Path) -> Result<Self, Error> {
        fs::create_dir_all(out).map_err(Error::file(out))?;
        let path = out.join("lock");
        let mut file =
            OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(Error::file(&path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::Busy { path }),
            Err(TryLockError::Error(error)) => return Err(Error::file(path)(error)),
        }
        // Only for people who look at the folder.
        let _ = file.write_all(format!("{}\n", std::process::id()).as_bytes());
        Ok(Self { _file: file })
    }
}
