//! `export`: a run's newest checkpoint, merged into its base model.

use kernels::device::Cpu;
use recipe_core::{HfConfig, MergePlan, Plan};

use super::args::{ExportArgs, Storage};
use super::{load, train};
use crate::engine::{Engine, Mode};
use crate::hub::{self, Dtype};
use crate::train::{Checkpoints, Run};
use crate::{Error, Result};

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
    let plan = run.plan.clone();
    let checkpoint = load::checkpoint(&plan, model)?;
    let mut engine = Engine::new(Cpu::new(), &plan, &checkpoint.weights, 0, Mode::Train)?;
    let Some(resumed) = Checkpoints::new(&args.run, 1).resume(&mut engine, &run.origin)? else {
        return Err(Error::usage(format!("{}: this run has no checkpoint yet", args.run.display())));
    };
    let config = checkpoint.config.clone().with_rope(&plan.rope, plan.target).with_attention(&plan.layers);
    write(&plan, config, &engine, args, checkpoint.tokenizer.as_ref())?;
    println!("{}: step {} of `{}`, adapters merged", args.out.display(), resumed.place.total_steps, plan.name);
    let stopped = plan.stages.get(resumed.place.stage).filter(|stage| resumed.place.step == stage.steps);
    if stopped.is_some_and(|stage| stage.merge != MergePlan::None) {
        println!("note: the run stopped before its merge; `train` goes on with it");
    }
    plan.notes.iter().for_each(|note| println!("note ({}): {}", note.rule, note.message));
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
