//! `export`: a run's newest checkpoint, merged into its base model.

use std::path::Path;

use kernels::device::Cpu;
use recipe_core::{HfConfig, Learns, MergePlan, Plan};

use super::args::{ExportArgs, Storage};
use super::{load, train};
use crate::engine::{Engine, Mode};
use crate::hub::{self, Dtype};
use crate::train::{Checkpoints, GATES_FILE, Run, save_gates};
use crate::{Error, Result, report};

pub(super) fn run(plan: &Plan, args: &ExportArgs) -> Result<()> {
    if !train::is_run(&args.run) {
        return Err(Error::usage(format!("{}: no run is here; train with --out first", args.run.display())));
    }
    let run = Run::read(&args.run)?;
    if run.recipe != plan.name {
        return Err(Error::usage(format!(
            "{}: this is a run of `{}`, and this program is `{}`; use the program that trained it",
            args.run.display(),
            run.recipe,
            plan.name
        )));
    }
    let model = args.model.as_deref().unwrap_or(&run.model);
    let adapter = args.adapter.as_deref().or(run.adapter.as_deref());
    let plan = run.plan.clone();
    let checkpoint = load::checkpoint(&plan, model, adapter)?;
    let mut engine = Engine::new(Cpu::new(), &plan, &checkpoint.weights, 0, Mode::training(&plan))?;
    let Some(resumed) = Checkpoints::new(&args.run, 1).resume(&mut engine, &run.origin)? else {
        return Err(Error::usage(format!("{}: this run has no checkpoint yet", args.run.display())));
    };
    let stage = plan.stages.get(resumed.place.stage);
    let learning = stage.filter(|stage| stage.learns != Learns::Weights);
    let gates = engine.gates().filter(|_| learning.is_some());
    let shown = gates.as_ref().map_or_else(|| plan.clone(), |gates| plan.with_gates(gates));
    let config = checkpoint.config.clone().with_rope(&plan.rope, plan.target).with_attention(&shown.layers);
    write(&shown, config, &engine, args, checkpoint.tokenizer.as_ref())?;
    write_gates(&args.out, gates.as_deref())?;
    println!("{}: step {} of `{}`, adapters merged", args.out.display(), resumed.place.total_steps, plan.name);
    let stopped = stage.filter(|stage| resumed.place.step == stage.steps);
    if stopped.is_some_and(|stage| stage.merge != MergePlan::None) {
        println!("note: the run stopped before its merge; `train` goes on with it");
    }
    match (&gates, learning) {
        (Some(gates), Some(stage)) => {
            println!("{}", report::gates_words(&plan, gates));
            if resumed.place.step < stage.steps {
                println!("note: the run stopped while its gates were learned; `train` goes on with it");
            }
        }
        _ if plan.gates_stage().is_some() => {
            println!("note: the run stopped before its gates were learned; `train` goes on with it");
        }
        _ => {}
    }
    plan.notes.iter().for_each(|note| println!("note ({}): {}", note.rule, note.message));
    Ok(())
}

/// Gates stand beside the model that they belong to; those of an earlier export do not stay.
fn write_gates(dir: &Path, gates: Option<&[Vec<f64>]>) -> Result<()> {
    let file = dir.join(GATES_FILE);
    match gates {
        Some(gates) => drop(save_gates(dir, gates)?),
        None if file.exists() => {
            std::fs::remove_file(&file).map_err(|error| Error::usage(format!("{}: {error}", file.display())))?;
        }
        None => {}
    }
    Ok(())
}

fn write(
    plan: &Plan,
    mut config: HfConfig,
    engine: &Engine<Cpu>,
    args: &ExportArgs,
    tokenizer: Option<&hub::Tokenizer>,
) -> Result<()> {
    // Servers run full attention, or one window in all layers of a Mistral; what it was trained for is kept for those who can use it.
    let layers = serde_json::to_value(&plan.layers).unwrap_or_default();
    config.set("context_recipe_attention", layers);
    let dtype = match args.dtype {
        Storage::F32 => Dtype::F32,
        Storage::Bf16 => Dtype::BF16,
        Storage::F16 => Dtype::F16,
    };
    let options = hub::Options { dtype, tokenizer, ..hub::Options::default() };
    Ok(hub::write(&args.out, &config, engine.merged().views(), &options)?)
}
