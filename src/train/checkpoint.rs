//! Checkpoints of a run: one file each, complete or absent.
//!
//! A checkpoint holds everything that training changes — values, AdamW's moments, the place in the schedule — and what
//! the run was started from, so that going on is the same computation as never having stopped. Data order and
//! initialisation are functions of (seed, index), so the place is all there is to know about them.

use std::fs;
use std::path::{Path, PathBuf};

use kernels::adamw::eight_bit;
use kernels::device::Device;
use recipe_core::{Optimizer, Plan};
use serde::{Deserialize, Serialize};

use super::{Error, StepMetrics};
use crate::engine::{Engine, Moments, Packed};
use crate::hub::{self, Dtype, Tensor, TensorFile, Weights};

/// Where a run stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Stage, from 0.
    pub stage: usize,
    /// Optimiser steps done in this stage.
    pub step: usize,
    /// Optimiser steps done in all stages.
    pub total_steps: usize,
    /// Optimiser steps since AdamW's moments were zero: all of them, or those after the last merge.
    pub updates: usize,
    /// Tokens seen in all stages.
    pub tokens: u64,
}

impl Place {
    /// One optimiser step on.
    #[must_use]
    pub fn after(self, step: &StepMetrics) -> Self {
        let (updates, tokens) = (self.updates + 1, step.tokens);
        Self { step: self.step + 1, total_steps: step.step, updates, tokens, ..self }
    }
}

/// What must be the same for a run to go on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Digest of the plan.
    pub plan: String,
    /// Digest of the weights that the run started from.
    pub base: String,
    /// Digest of the sources of text.
    pub data: String,
    /// What it runs on, a CPU's vector instructions or a GPU: another one may round differently.
    pub device: String,
    /// What the command line said instead of the recipe, in its words.
    #[serde(default)]
    pub overrides: Vec<String>,
}

const VALUE: &str = "value/";
const FIRST: &str = "first_moment/";
const SECOND: &str = "second_moment/";
/// In 8 bits: codes in U8, of the tensor's shape, and an f32 for each 256 of them, as [`eight_bit`] says.
const CODES: [&str; 2] = ["first_moment_8bit/", "second_moment_8bit/"];
const SCALES: [&str; 2] = ["first_moment_scale/", "second_moment_scale/"];

/// The checkpoints of one run.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    folder: PathBuf,
    keep: usize,
}

impl Checkpoints {
    /// The checkpoints under `out`, of which the newest `keep` stay.
    pub fn new(out: &Path, keep: usize) -> Self {
        Self { folder: out.join("checkpoints"), keep: keep.max(1) }
    }

    /// Writes a checkpoint, then removes what rotation no longer keeps.
    ///
    /// # Errors
    /// When the disk refuses; older checkpoints are untouched then.
    pub fn save<D: Device>(&self, engine: &Engine<D>, place: &Place, origin: &Origin) -> Result<PathBuf, Error> {
        fs::create_dir_all(&self.folder).map_err(Error::file(&self.folder))?;
        let path = self.folder.join(format!("step-{:07}.safetensors", place.total_steps));
        let Moments { first, second, packed } = engine.moments();
        let parts = [(VALUE, engine.trained()), (FIRST, first), (SECOND, second)];
        engine.check_device()?;
        let (codes, scales) = unpacked(packed);
        let named: Vec<(String, Tensor)> = parts
            .into_iter()
            .flat_map(|(prefix, part)| part.into_iter().map(move |(name, tensor)| (format!("{prefix}{name}"), tensor)))
            .chain(scales)
            .collect();
        let views = named.iter().map(|(name, tensor)| (name.as_str(), &tensor.shape[..], &tensor.data[..]));
        let bytes: Vec<hub::Bytes<'_>> =
            codes.iter().map(|(name, shape, codes)| (&name[..], &shape[..], &codes[..])).collect();
        let record = [("place", to_json(place)), ("origin", to_json(origin))];
        let metadata: Vec<(&str, &str)> = record.iter().map(|(key, text)| (*key, text.as_str())).collect();
        hub::save_with_bytes(&path, views, &bytes, Dtype::F32, &metadata)?;
        self.rotate();
        Ok(path)
    }

    /// Puts the newest checkpoint back into `engine`; `None` when there is none.
    ///
    /// # Errors
    /// A checkpoint of another run or of another optimiser, or a damaged one.
    pub fn resume<D: Device>(&self, engine: &mut Engine<D>, origin: &Origin) -> Result<Option<Resumed>, Error> {
        let Some(path) = self.list().pop() else { return Ok(None) };
        let file = TensorFile::open(&path)?;
        let (place, of): (Place, Origin) = (record(&path, &file, "place")?, record(&path, &file, "origin")?);
        same_optimizer(&file, engine.plan())?;
        of.same_run(origin, &path)?;
        let part = |prefix: &str| -> Result<Weights, Error> {
            let names = file.names().filter(|name| name.starts_with(prefix)).map(ToOwned::to_owned);
            names.map(|name| Ok((name[prefix.len()..].to_owned(), file.f32(&name)?))).collect()
        };
        let moments = Moments { first: part(FIRST)?, second: part(SECOND)?, packed: packed(&file)? };
        engine.restore(&part(VALUE)?, &moments)?;
        let other_device = (of.device != origin.device).then_some(of.device);
        Ok(Some(Resumed { place, path, other_device }))
    }

    /// Whether the newest checkpoint, if there is one, is of this run of `plan`.
    ///
    /// # Errors
    /// A checkpoint of another run or of another optimiser, or a damaged one.
    pub fn check(&self, plan: &Plan, origin: &Origin) -> Result<(), Error> {
        let Some(path) = self.list().pop() else { return Ok(()) };
        let file = TensorFile::open(&path)?;
        same_optimizer(&file, plan)?;
        record::<Origin>(&path, &file, "origin")?.same_run(origin, &path)
    }

    /// All checkpoints, oldest first.
    pub fn list(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut paths: Vec<PathBuf> = entries.filter(|path| is_checkpoint(path)).collect();
        paths.sort();
        paths
    }

    /// A file that will not go is left for the next time.
    fn rotate(&self) {
        let paths = self.list();
        let surplus = paths.len().saturating_sub(self.keep);
        paths[..surplus].iter().for_each(|path| drop(fs::remove_file(path)));
    }
}

/// What a run goes on from.
#[derive(Clone, Debug)]
pub struct Resumed {
    /// Where it stands.
    pub place: Place,
    /// The checkpoint.
    pub path: PathBuf,
    /// What it was written on, when that is another device than now.
    pub other_device: Option<String>,
}

impl Origin {
    /// The device may differ, at the price of other roundings; nothing else may.
    fn same_run(&self, now: &Self, path: &Path) -> Result<(), Error> {
        let pairs = [
            ("a plan", &self.plan, &now.plan),
            ("a base model", &self.base, &now.base),
            ("text", &self.data, &now.data),
        ];
        match pairs.into_iter().find(|(_, got, expected)| got != expected) {
            None => Ok(()),
            Some(_) if self.overrides != now.overrides => {
                let words =
                    |of: &Self| if of.overrides.is_empty() { "none".to_owned() } else { of.overrides.join(" ") };
                Err(Error::OtherOverrides { path: path.to_owned(), got: words(self), expected: words(now) })
            }
            Some((what, got, expected)) => {
                Err(Error::OtherRun { path: path.to_owned(), what, expected: expected.clone(), got: got.clone() })
            }
        }
    }
}

/// Whether some moments are in 8 bits where the plan keeps some so, and none where it keeps none.
fn same_optimizer(file: &TensorFile, plan: &Plan) -> Result<(), Error> {
    let word = |packs| if packs { Optimizer::AdamW8bit } else { Optimizer::AdamW }.word();
    let got = word(file.names().any(|name| name.starts_with(CODES[0])));
    let expected = word(plan.packs_moments());
    if got == expected { Ok(()) } else { Err(Error::OtherOptimizer { path: file.path().to_owned(), got, expected }) }
}

/// Codes with their names and shapes, and scales.
type Unpacked = (Vec<(String, Vec<usize>, Vec<u8>)>, Vec<(String, Tensor)>);

fn unpacked(packed: Vec<Packed>) -> Unpacked {
    let (mut codes, mut scales) = (vec![], vec![]);
    for Packed { name, shape, moments: eight_bit::Moments { m, v, scales: [m_scales, v_scales] } } in packed {
        for (which, (moment, of_moment)) in [(m, m_scales), (v, v_scales)].into_iter().enumerate() {
            codes.push((format!("{}{name}", CODES[which]), shape.clone(), moment));
            let tensor = Tensor { shape: vec![of_moment.len()], data: of_moment };
            scales.push((format!("{}{name}", SCALES[which]), tensor));
        }
    }
    (codes, scales)
}

fn packed(file: &TensorFile) -> Result<Vec<Packed>, Error> {
    let read = |name: &str| -> Result<Packed, Error> {
        let codes = |which: usize| file.u8(&format!("{}{name}", CODES[which]));
        let scales = |which: usize| file.f32(&format!("{}{name}", SCALES[which]));
        let ((shape, m), (_, v)) = (codes(0)?, codes(1)?);
        let scales = [scales(0)?.data, scales(1)?.data];
        Ok(Packed { name: name.to_owned(), shape, moments: eight_bit::Moments { m, v, scales } })
    };
    file.names().filter_map(|name| name.strip_prefix(CODES[0])).map(read).collect()
}

fn is_checkpoint(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.starts_with("step-") && name.ends_with(".safetensors")
}

fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn record<T: for<'a> Deserialize<'a>>(path: &Path, file: &TensorFile, key: &str) -> Result<T, Error> {
    let damaged = |reason: String| Error::Damaged { path: path.to_owned(), reason };
    let text = file.metadata().get(key).ok_or_else(|| damaged(format!("it has no `{key}` record")))?;
    serde_json::from_str(text).map_err(|error| damaged(format!("its `{key}` record is malformed: {error}")))
}
