//! `export`: a run's newest checkpoint, or a model as it lies, in the form that another program loads.

mod source;
mod write;

use recipe_core::{Learns, MergePlan, Plan, readable_bytes};

use self::source::{Origin, Source};
use self::write::Written;
use super::args::{ExportArgs, ExportFormat, Served, Storage};
use crate::{Error, Result, report};

pub(super) fn run(plan: &Plan, args: &ExportArgs) -> Result<()> {
    let dtype = storage(args)?;
    let source = match (&args.run, &args.model) {
        (Some(run), base) => Source::of_run(plan, run, (base.as_deref(), args.adapter.as_deref()), args.format)?,
        (None, Some(model)) => Source::of_model(plan, model, args.adapter.as_deref(), args.format)?,
        (None, None) => return Err(Error::usage("give --run RUN or --model DIR".to_owned())),
    };
    let written = match args.format {
        ExportFormat::Hf => write::hf(&source, args, dtype)?,
        ExportFormat::Adapter => write::adapter(&source, args, dtype)?,
        ExportFormat::Gguf => write::gguf(&source, args, dtype)?,
    };
    tell(&source, &written)
}

/// What numbers are stored as, and what cannot go together.
fn storage(args: &ExportArgs) -> Result<Storage> {
    let wrong = |words: &str| Err(Error::usage(words.to_owned()));
    match (args.format, args.dtype) {
        (ExportFormat::Hf | ExportFormat::Adapter, Some(Storage::Q8_0)) => {
            wrong("`--dtype q8_0` is a format of GGUF; write `--format gguf`, or one of f32, bf16, f16")
        }
        (ExportFormat::Gguf, _) if args.attention == Served::Ministral => wrong(
            "llama.cpp has no windows for models of this kind; leave `--attention ministral` out, or write `--format hf`",
        ),
        (ExportFormat::Adapter, None) => Ok(Storage::F32),
        (_, dtype) => Ok(dtype.unwrap_or(Storage::Bf16)),
    }
}

/// What was written, what other programs will do differently, and where the run stands.
fn tell(source: &Source, written: &Written) -> Result<()> {
    say!("{}: {}", written.out.display(), source.words())?;
    for (name, bytes) in &written.files {
        say!("  {name}  {}", readable_bytes(*bytes))?;
    }
    say!("every tensor was read back and is what was written{}", written.rounding)?;
    written.peers.iter().try_for_each(|words| say!("peers: {words}"))?;
    tell_place(source)?;
    source.plan.notes.iter().try_for_each(|note| say!("note ({}): {}", note.rule, note.message))
}

/// A run that has not come to its end.
fn tell_place(source: &Source) -> Result<()> {
    let Origin::Run { place, .. } = &source.origin else { return Ok(()) };
    let plan = &source.plan;
    let stage = plan.stages.get(place.stage);
    let learning = stage.filter(|stage| stage.learns != Learns::Weights);
    let stopped = stage.filter(|stage| place.step == stage.steps);
    if stopped.is_some_and(|stage| stage.merge != MergePlan::None) {
        say!("note: the run stopped before its merge; `train` goes on with it")?;
    }
    match (&source.gates, learning) {
        (Some(gates), Some(stage)) => {
            say!("{}", report::gates_words(plan, gates))?;
            if place.step < stage.steps {
                say!("note: the run stopped while its gates were learned; `train` goes on with it")?;
            }
        }
        _ if plan.gates_stage().is_some() => {
            say!("note: the run stopped before its gates were learned; `train` goes on with it")?;
        }
        _ => {}
    }
    Ok(())
}
