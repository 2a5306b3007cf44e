//! What is exported: a run's newest checkpoint, or a model as it lies.

use std::fs;
use std::path::{Path, PathBuf};

use kernels::device::Cpu;
use recipe_core::{AdaptPlan, GatesPlan, HfConfig, Plan};

use crate::cli::args::ExportFormat;
use crate::cli::{load, trained};
use crate::engine::{Engine, Mode};
use crate::hub::{Tokenizer, Weights};
use crate::train::{Checkpoints, GATES_FILE, MetricsLog, Place, StepMetrics, read_gates};
use crate::{Error, Result};

/// A model on its way out.
pub(super) struct Source {
    /// The plan that made it.
    pub(super) plan: Plan,
    /// The same with learned gates put in, as it is served.
    pub(super) shown: Plan,
    /// The base's configuration.
    pub(super) config: HfConfig,
    pub(super) tokenizer: Option<Tokenizer>,
    /// The whole model, adapters merged; for an adapter what learned.
    pub(super) weights: Weights,
    pub(super) gates: Option<Vec<Vec<f64>>>,
    pub(super) origin: Origin,
    /// What was measured, where it lies in the run or beside the model.
    pub(super) evaluation: Option<serde_json::Value>,
}

/// Where it comes from.
pub(super) enum Origin {
    /// `first` is the adapter that was merged into the base before training.
    Run {
        base: PathBuf,
        first: Option<PathBuf>,
        place: Place,
        metrics: Vec<StepMetrics>,
    },
    Model(PathBuf),
}

impl Source {
    /// The newest checkpoint of a run on its base and the adapter in that, either of which may have moved since.
    pub(super) fn of_run(
        plan: &Plan,
        dir: &Path,
        moved: (Option<&Path>, Option<&Path>),
        format: ExportFormat,
    ) -> Result<Self> {
        let run = trained::run_in(plan, dir)?;
        let (base, first) = (moved.0.unwrap_or(&run.model), moved.1.or(run.adapter.as_deref()));
        let plan = run.plan.clone();
        if format == ExportFormat::Adapter && plan.adapt == AdaptPlan::Full {
            return Err(no_adapter(&plan));
        }
        let model = load::model(&plan, base, first)?;
        let mut engine = Engine::new(Cpu::new(), &plan, &model, 0, Mode::training(&plan))?;
        let Some(resumed) = Checkpoints::new(dir, 1).resume(&mut engine, &run.origin)? else {
            return Err(Error::usage(format!("{}: this run has no checkpoint yet", dir.display())));
        };
        let gates = trained::gates(&plan, &engine, &resumed.place);
        let shown = gates.as_ref().map_or_else(|| plan.clone(), |gates| plan.with_gates(gates));
        let weights = if format == ExportFormat::Adapter { adapter(&plan, engine.trained()) } else { engine.merged() };
        let metrics = MetricsLog::read(&dir.join("metrics.jsonl"))?;
        let (base, first) = (base.to_path_buf(), first.map(Path::to_path_buf));
        let origin = Origin::Run { base, first, place: resumed.place, metrics };
        let (config, tokenizer) = (model.config, model.tokenizer);
        Ok(Self { plan, shown, config, tokenizer, weights, gates, origin, evaluation: evaluation(dir) })
    }

    /// A whole model, with an adapter merged into it, which gets the recipe's rope.
    pub(super) fn of_model(plan: &Plan, path: &Path, adapter: Option<&Path>, format: ExportFormat) -> Result<Self> {
        if format == ExportFormat::Adapter {
            return Err(Error::usage(format!(
                "{}: a whole model has no adapter; give the run that trained it with --run RUN",
                path.display()
            )));
        }
        let checkpoint = load::model(plan, path, adapter)?.read()?;
        let shown = load::with_gates(plan, path)?;
        let gates = match plan.gates {
            GatesPlan::Given => None,
            GatesPlan::Learned { .. } => Some(read_gates(&path.with_file_name_or_inside(GATES_FILE), plan)?),
        };
        let (config, tokenizer, weights) = (checkpoint.config, checkpoint.tokenizer, checkpoint.weights);
        let origin = Origin::Model(path.to_path_buf());
        let evaluation = evaluation(path);
        Ok(Self { plan: plan.clone(), shown, config, tokenizer, weights, gates, origin, evaluation })
    }

    /// Where the weights come from, for the terminal and the card.
    pub(super) fn words(&self) -> String {
        let name = &self.plan.name;
        match &self.origin {
            Origin::Run { place, .. } => match self.plan.adapt {
                AdaptPlan::Full => format!("step {} of `{name}`", place.total_steps),
                AdaptPlan::Lora { .. } => format!("step {} of `{name}`, adapters merged", place.total_steps),
            },
            Origin::Model(path) => format!("the weights of {} under the rope of `{name}`", path.display()),
        }
    }

    /// What the base is called: its folder's or file's name.
    pub(super) fn base_name(&self) -> String {
        let path = self.base();
        path.file_stem()
            .filter(|_| path.is_file())
            .or(path.file_name())
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    }

    /// Where the weights came from.
    pub(super) fn base(&self) -> &Path {
        match &self.origin {
            Origin::Run { base, .. } => base,
            Origin::Model(path) => path,
        }
    }
}

trait Beside {
    fn with_file_name_or_inside(&self, name: &str) -> PathBuf;
}

impl Beside for Path {
    /// In a model's directory, or beside its one file.
    fn with_file_name_or_inside(&self, name: &str) -> PathBuf {
        if self.is_dir() { self.join(name) } else { self.with_file_name(name) }
    }
}

/// What PEFT holds: adapters, and what learned in full. Gates are no weights.
fn adapter(plan: &Plan, mut trained: Weights) -> Weights {
    let names: Vec<String> = trained.names().map(str::to_owned).collect();
    let known: Vec<String> = plan.parameters().into_iter().map(|parameter| parameter.name).collect();
    names.iter().filter(|name| !known.contains(name)).for_each(|name| drop(trained.remove(name)));
    trained
}

fn no_adapter(plan: &Plan) -> Error {
    Error::usage(format!(
        "the recipe `{}` trains all weights, so there is no adapter; export the model with `--format hf`",
        plan.name
    ))
}

/// `evaluation.json`: of a run, or where someone kept beside a model what `eval --json` printed.
fn evaluation(dir: &Path) -> Option<serde_json::Value> {
    let text = fs::read(dir.with_file_name_or_inside("evaluation.json")).ok()?;
    let found = serde_json::from_slice(&text).map_err(|error| tell!("note: evaluation.json is left out: {error}"));
    found.ok()
}
