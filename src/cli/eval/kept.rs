//! What a run keeps of its evaluations: `evaluation.before.json`, of the model as it was given, and `evaluation.json`, of
//! the model as it was trained. Each is written after every measurement, so that a killed one goes on.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kernels::device::Device;
use recipe_core::Plan;
use serde::{Deserialize, Serialize};

use super::session::{Ask, Session};
use super::{kept, limit, shorts};
use crate::cli::interrupt;
use crate::cli::machine::Open;
use crate::data::Encoder;
use crate::engine::Engine;
use crate::eval::Evaluation;
use crate::hub::Tensors;
use crate::report::RunReport;
use crate::train::{self, MetricsLog, Origin, Place, Run, digest_of};
use crate::{Error, Result, hub};

const BEFORE: &str = "evaluation.before.json";
const AFTER: &str = "evaluation.json";

/// The evaluations of a run.
pub(in crate::cli) struct OfRun<'a, D> {
    /// Where it is measured.
    pub(in crate::cli) open: Open<'a, D>,
    pub(in crate::cli) out: &'a Path,
    /// What the run follows.
    pub(in crate::cli) plan: &'a Plan,
    pub(in crate::cli) origin: &'a Origin,
    pub(in crate::cli) ask: &'a Ask,
    pub(in crate::cli) encoder: &'a Arc<Encoder>,
}

impl<D: Device> OfRun<'_, D> {
    /// The model as it was given: `weights` under its own rope, every layer full.
    pub(in crate::cli) fn before(&self, weights: &dyn Tensors) -> Result<()> {
        let mut file = self.file(BEFORE, &self.origin.base);
        match file.is_complete() {
            true => Ok(()),
            false => self.go_on(&mut file, self.session(&self.plan.untouched(), weights, "before: ")?, 0),
        }
    }

    /// The model as it was trained, which `engine` holds; an error where `short` finds that too much was lost.
    pub(in crate::cli) fn after(&self, engine: Engine<D>, place: &Place, gates: Option<&Vec<Vec<f64>>>) -> Result<()> {
        let mut file = self.file(AFTER, &digest_of(&(self.origin, place.total_steps, place.updates)));
        if !file.is_complete() {
            let trained = engine.into_merged();
            let plan = gates.map_or_else(|| self.plan.clone(), |gates| self.plan.with_gates(gates));
            let session = self.session(&plan.merged(), &trained, "after: ")?;
            trained.check_device()?;
            drop(trained);
            self.go_on(&mut file, session, place.total_steps)?;
        }
        let limits = self.ask.wanted.iter().filter_map(limit);
        let before = File::read(&self.out.join(BEFORE)).unwrap_or_default().found;
        file.found.short = shorts(limits, self.plan.model.context, &file.found, &before);
        file.save()?;
        kept(&file.found.short)
    }

    /// What was kept of the same measurements of the same model, or a new file.
    fn file(&self, name: &str, model: &str) -> File {
        let (path, key) = (self.out.join(name), digest_of(&(model, self.ask.digest())));
        let all = self.ask.units().len();
        let held = File::read(&path).filter(|file| file.key == key && file.all == all);
        File { path, key, all, ..held.unwrap_or_default() }
    }

    fn session(&self, plan: &Plan, weights: &dyn Tensors, name: &'static str) -> Result<Session<'_, D>> {
        Session::open(self.open, plan, weights, self.encoder, self.ask, name)
    }

    fn go_on(&self, file: &mut File, mut session: Session<'_, D>, step: usize) -> Result<()> {
        session.found = std::mem::take(&mut file.found);
        for unit in self.ask.units().iter().skip(file.done) {
            session.measure(unit)?;
            (file.done, file.found) = (file.done + 1, session.found.clone());
            file.save()?;
            if interrupt::asked() {
                return Err(Error::Train(train::Error::Stopped { step }));
            }
        }
        Ok(())
    }
}

/// One of the two files.
#[derive(Debug, Default, Serialize, Deserialize)]
struct File {
    #[serde(skip)]
    path: PathBuf,
    /// Digest of the model and of what it was asked.
    key: String,
    /// Measurements done.
    done: usize,
    /// Measurements asked for.
    all: usize,
    #[serde(flatten)]
    found: Evaluation,
}

impl File {
    /// Nothing where there is none, or another program's.
    fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    fn is_complete(&self) -> bool {
        self.done == self.all
    }

    fn save(&self) -> Result<()> {
        let json = serde_json::to_vec_pretty(self).map_err(|error| Error::usage(error.to_string()))?;
        Ok(hub::save_bytes(&self.path, &json)?)
    }
}

/// What was found of the run's model.
pub(super) fn read(out: &Path) -> Evaluation {
    File::read(&out.join(AFTER)).unwrap_or_default().found
}

/// The report of the run in `out`, from what lies there; gives the page's path.
pub(in crate::cli) fn redraw(plan: &Plan, out: &Path) -> Result<PathBuf> {
    let metrics = MetricsLog::read(&out.join("metrics.jsonl"))?;
    let found = |name: &str| File::read(&out.join(name)).unwrap_or_default().found;
    let (before, evaluation) = (found(BEFORE), found(AFTER));
    let mut protocol: Vec<String> = match before == Evaluation::default() {
        true => vec![],
        false => PROTOCOL.map(str::to_owned).to_vec(),
    };
    let overrides = Run::read(out).map(|run| run.origin.overrides).unwrap_or_default();
    if !overrides.is_empty() {
        protocol.push(format!("instead of the recipe's, on the command line: {}", overrides.join(" ")));
    }
    let report = RunReport {
        plan,
        metrics: &metrics,
        before: &before,
        evaluation: &evaluation,
        protocol: &protocol,
        files: &[],
    };
    Ok(report.write(out)?)
}

const PROTOCOL: [&str; 2] = [
    "before: the model as it was given, under its own rope, every layer full",
    "after: the model as it was trained, under the recipe's rope and attention",
];
