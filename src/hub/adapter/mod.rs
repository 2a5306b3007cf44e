//! LoRA adapters (Hu et al. 2021) as PEFT saves them, merged into a base.
//!
//! A file holds, under `base_model.model.` and a module's name, `lora_A.weight` [r, in] and `lora_B.weight` [out, r]; the
//! module's weight [out, in] becomes W + scale · B·A. Modules that were trained whole stand there under their own names and
//! take the base's place. The rotary law is in neither file: who changes it lays the changed `config.json` beside them.

mod settings;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use recipe_core::{HfConfig, Llama};

use self::settings::Settings;
use super::directory::{ADAPTER, CONFIG};
use super::error::Error;
use super::layout::{EMBEDDING, HEAD, layout};
use super::read::Header;
use super::tensor_file::TensorFile;
use super::weights::Tensor;

/// The factors and saved modules.
const WEIGHTS: &str = "adapter_model.safetensors";
const PREFIX: &str = "base_model.model.";

/// An adapter whose values are still on disk.
#[derive(Debug)]
pub struct Adapter {
    path: PathBuf,
    settings: Settings,
    file: TensorFile,
    /// By the base's tensor: the file's tensor that takes its place.
    saved: BTreeMap<String, String>,
    /// By the base's tensor: the file's factors A and B.
    factors: BTreeMap<String, [String; 2]>,
    model: Option<Llama>,
}

/// What a tensor of the file is to the base's tensor of this name.
enum Part {
    A(String),
    B(String),
    Whole(String),
}

impl Adapter {
    /// Reads an adapter's settings and the list of its tensors, but no values.
    ///
    /// # Errors
    /// [`Error::NoModel`] when the directory holds no adapter; [`Error::Unsupported`] for DoRA, rank patterns and other kinds
    /// that are not W + scale · B·A; [`Error::Tensor`] for a tensor that is no part of such an adapter, or half a pair;
    /// [`Error::Damaged`], [`Error::Json`] and [`Error::Io`].
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let file = files(dir)?;
        let settings = Settings::read(&dir.join(ADAPTER))?;
        let mut adapter = Self {
            path: dir.to_path_buf(),
            settings,
            file: TensorFile::open(&file)?,
            saved: BTreeMap::new(),
            factors: BTreeMap::new(),
            model: own_model(dir)?,
        };
        adapter.sort()?;
        adapter.check_saved()?;
        Ok(adapter)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The architecture in the `config.json` beside the adapter, when there is one: the base's, but maybe with another rope.
    pub fn model(&self) -> Option<&Llama> {
        self.model.as_ref()
    }

    /// How many weights get a product, and how many tensors are replaced.
    pub fn counts(&self) -> (usize, usize) {
        (self.factors.len(), self.saved.len())
    }

    /// The rank, and what the product is multiplied by.
    pub fn rank_and_scale(&self) -> (usize, f32) {
        (self.settings.rank, self.settings.scale)
    }

    /// Every tensor that the base lacks or that has another shape there.
    pub fn mismatches(&self, base: &Llama) -> Vec<Error> {
        let mut shapes: HashMap<String, Vec<usize>> = layout(base).into_iter().collect();
        // A tied base may be given its head; whether it is the embedding is seen in the values.
        shapes.entry(HEAD.to_string()).or_insert_with(|| vec![base.vocab, base.hidden]);
        let rank = self.settings.rank;
        let saved = self.saved.iter().map(|(target, name)| (name, target, shapes.get(target).cloned()));
        let factors = self.factors.iter().flat_map(|(target, [a, b])| match shapes.get(target).map(Vec::as_slice) {
            Some(&[outputs, inputs]) => [(a, target, Some(vec![rank, inputs])), (b, target, Some(vec![outputs, rank]))],
            _ => [(a, target, None), (b, target, None)],
        });
        let unfit = |(name, target, shape): (&String, &String, Option<Vec<usize>>)| self.unfit(name, target, shape);
        saved.chain(factors).filter_map(unfit).collect()
    }

    /// Whether it fits a base.
    pub(super) fn check(&self, base: &Header) -> Result<(), Error> {
        Error::all(&self.path, self.mismatches(&base.model))?;
        if base.model.tied { self.check_tied(base) } else { Ok(()) }
    }

    /// A tensor of the base with the adapter in it: what was saved takes its place, then comes the product.
    pub(super) fn applied(&self, target: &str, base: impl FnOnce() -> Result<Tensor, Error>) -> Result<Tensor, Error> {
        let mut tensor = self.saved.get(target).map_or_else(base, |name| self.values(name))?;
        if let Some([a, b]) = self.factors.get(target) {
            tensor.add_product(&self.values(b)?, &self.values(a)?, self.settings.scale);
        }
        Ok(tensor)
    }

    /// Finds each tensor's place in the base.
    fn sort(&mut self) -> Result<(), Error> {
        let mut halves: BTreeMap<String, [Option<String>; 2]> = BTreeMap::new();
        let mut errors = Vec::new();
        for name in self.file.names().map(str::to_string).collect::<Vec<_>>() {
            match part(&name) {
                Some(Part::Whole(target)) => drop(self.saved.insert(target, name)),
                Some(Part::A(target)) => halves.entry(target).or_default()[0] = Some(name),
                Some(Part::B(target)) => halves.entry(target).or_default()[1] = Some(name),
                None => errors.push(self.foreign(&name)),
            }
        }
        for (target, pair) in halves {
            match pair {
                [Some(a), Some(b)] => drop(self.factors.insert(target, [a, b])),
                [Some(a), None] => errors.push(self.lonely(&a, "lora_B")),
                [_, Some(b)] => errors.push(self.lonely(&b, "lora_A")),
                [None, None] => {}
            }
        }
        Error::all(&self.path, errors)
    }

    /// Every module that the settings promise whole is in the file, and there is something to merge at all.
    fn check_saved(&self) -> Result<(), Error> {
        // As in PEFT, a module is named by the end of its path.
        let ends =
            |name: &String, module: &String| name.rsplit_once('.').is_some_and(|(path, _)| path.ends_with(module));
        let holds = |module: &String| self.saved.keys().any(|name| ends(name, module));
        let missing = match self.settings.saved.iter().find(|module| !holds(module)) {
            Some(module) => format!("the weights of {module}, which modules_to_save names"),
            None if self.saved.is_empty() && self.factors.is_empty() => "lora_A and lora_B tensors".into(),
            None => return Ok(()),
        };
        Err(Error::Damaged {
            path: self.file.path().to_path_buf(),
            what: "its list of tensors".into(),
            expected: missing,
            got: "none".into(),
            advice: "Fetch the adapter again, or save it again with PEFT".into(),
        })
    }

    /// A tied base has one table for two things; PEFT trains a copy of the one and leaves the other.
    fn check_tied(&self, base: &Header) -> Result<(), Error> {
        let table = |target: &str| self.saved.get(target).map(|name| self.values(name)).transpose();
        let (embedding, head) = (table(EMBEDDING)?, table(HEAD)?);
        let old = if embedding.is_some() == head.is_some() { None } else { Some(base.plain(EMBEDDING)?) };
        let touched = [HEAD, EMBEDDING].into_iter().find(|target| self.factors.contains_key(*target));
        let differ = embedding.as_ref().or(old.as_ref()) != head.as_ref().or(old.as_ref());
        match touched.or_else(|| differ.then(|| if embedding.is_some() { EMBEDDING } else { HEAD })) {
            None => Ok(()),
            Some(target) => Err(Error::Tensor {
                path: self.file.path().to_path_buf(),
                tensor: target.into(),
                expected: "one table for embedding and output, since the base ties them (tie_word_embeddings)".into(),
                got: "a change to one of them".into(),
                advice: "Save the base with tie_word_embeddings false and its own lm_head.weight, and use that".into(),
            }),
        }
    }

    fn values(&self, name: &str) -> Result<Tensor, Error> {
        let tensor = self.file.f32(name)?;
        match tensor.data.iter().find(|value| !value.is_finite()) {
            None => Ok(tensor),
            Some(value) => {
                let advice = "Fetch the adapter again; if it stays so, its training diverged";
                Err(self.tensor_error(name, "finite values".into(), value.to_string(), advice))
            }
        }
    }

    /// The error for a tensor of another shape, or for one whose `target` the base lacks.
    fn unfit(&self, name: &str, target: &str, shape: Option<Vec<usize>>) -> Option<Error> {
        let held = self.file.shape(name).unwrap_or_default();
        let (expected, got) = match shape {
            Some(shape) if held == shape => return None,
            Some(shape) => (format!("shape {shape:?} for {target} and r {}", self.settings.rank), format!("{held:?}")),
            None => (format!("a base with {target} of this kind"), "one without".into()),
        };
        let advice = match &self.settings.base {
            Some(base) => format!("Give the base that the adapter was trained on ({base}) as --model"),
            None => "Give the base that the adapter was trained on as --model".into(),
        };
        Some(self.tensor_error(name, expected, got, &advice))
    }

    fn lonely(&self, name: &str, partner: &str) -> Error {
        let advice = "Fetch the adapter again, or save it again with PEFT";
        self.tensor_error(name, format!("its {partner} beside it"), "none".into(), advice)
    }

    fn foreign(&self, name: &str) -> Error {
        let advice =
            "Merge the adapter in PEFT (merge_and_unload, save_pretrained) and give the merged model as --model";
        let expected = format!("{PREFIX}….lora_A.weight, ….lora_B.weight or a weight of the base");
        self.tensor_error(name, expected, "another kind of tensor".into(), advice)
    }

    fn tensor_error(&self, name: &str, expected: String, got: String, advice: &str) -> Error {
        let (path, advice) = (self.file.path().to_path_buf(), advice.to_string().into());
        Error::Tensor { path, tensor: name.to_string(), expected, got, advice }
    }
}

/// `base_layer` is PEFT's name for the weight of a module with factors, where it saves that, too.
fn part(name: &str) -> Option<Part> {
    let inner = name.strip_prefix(PREFIX)?;
    let weight = |module: &str| format!("{module}.weight");
    if let Some(module) = inner.strip_suffix(".lora_A.weight") {
        return Some(Part::A(weight(module)));
    }
    if let Some(module) = inner.strip_suffix(".lora_B.weight") {
        return Some(Part::B(weight(module)));
    }
    let plain = !inner.contains("lora_") && (inner.ends_with(".weight") || inner.ends_with(".bias"));
    plain.then(|| Part::Whole(inner.replace(".base_layer.", ".")))
}

/// The path of the adapter's weights, when both of its files are there.
fn files(dir: &Path) -> Result<PathBuf, Error> {
    let missing = |found: &str, advice| Err(Error::NoModel { path: dir.to_path_buf(), found: found.into(), advice });
    fs::read_dir(dir).map_err(Error::io("read", dir))?;
    if !dir.join(ADAPTER).exists() {
        let advice = "Give the directory that PEFT saved, with adapter_config.json and adapter_model.safetensors";
        return missing("no adapter_config.json, so no adapter", advice);
    }
    let file = dir.join(WEIGHTS);
    if file.symlink_metadata().is_ok() {
        return Ok(file);
    }
    if dir.join("adapter_model.bin").exists() {
        return missing(
            "adapter_model.bin alone",
            "Load it in PEFT and save it again: save_pretrained writes safetensors",
        );
    }
    missing("no adapter_model.safetensors", "Fetch the whole adapter")
}

fn own_model(dir: &Path) -> Result<Option<Llama>, Error> {
    let path = dir.join(CONFIG);
    if !path.exists() {
        return Ok(None);
    }
    let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    let config_error = |source| Error::Config { path: path.clone(), source };
    HfConfig::parse(&text).and_then(|config| config.llama()).map(Some).map_err(config_error)
}
