//! The folder of a run that was trained.

use std::fs;
use std::path::Path;

use kernels::device::Device;
use recipe_core::{Learns, Plan};

use crate::engine::Engine;
use crate::train::{Place, Run};
use crate::{Error, Result};

/// The run in `dir`, which this program trained.
pub(in crate::cli) fn run_in(plan: &Plan, dir: &Path) -> Result<Run> {
    if !fs::exists(dir.join("run.json")).unwrap_or(false) {
        return Err(Error::usage(format!(
            "{}: no run is here; train with --out first, or give a model with --model",
            dir.display()
        )));
    }
    let run = Run::read(dir)?;
    if run.recipe != plan.name {
        return Err(Error::usage(format!(
            "{}: this is a run of `{}`, and this program is `{}`; use the program that trained it",
            dir.display(),
            run.recipe,
            plan.name
        )));
    }
    Ok(run)
}

/// The gates of a run at `place`, where it has come to them.
pub(in crate::cli) fn gates<D: Device>(plan: &Plan, engine: &Engine<D>, place: &Place) -> Option<Vec<Vec<f64>>> {
    let stage = plan.stages.get(place.stage);
    engine.gates().filter(|_| stage.is_some_and(|stage| stage.learns != Learns::Weights))
}
