//! `train`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kernels::device::{Cpu, Device as _};
use recipe_core::{Device, Plan, SourceKind, SourcePlan, readable_bytes};

use super::args::{DeviceArg, TrainArgs};
use super::load;
use crate::data::{Corpus, Encoder};
use crate::engine::{Engine, Mode};
use crate::report::{self, Progress, RunReport};
use crate::train::{self, Event, Keeping, Lock, MetricsLog, Run, Sequences};
use crate::{Error, Result};

pub(super) fn run(plan: &Plan, args: &TrainArgs) -> Result<()> {
    let plan = on_cpu(plan, args.device)?;
    let data = sources(&plan, &args.data)?;
    print!("{}", report::plan_text(&plan));
    let _lock = Lock::take(&args.out)?;
    let checkpoint = load::checkpoint(&plan, &args.model)?;
    let encoder = load::encoder(&checkpoint)?;
    let corpus = opened(&data, encoder, &args.out.join("cache"))?;
    let run = Run::new(&plan, &args.model, &checkpoint, &corpus)?;
    let longest = plan.stages.iter().map(|stage| stage.length).max().unwrap_or(0);
    let sequences: usize = plan.stages.iter().map(|stage| stage.steps * stage.batch).sum();
    corpus.notes(longest, sequences as u64).iter().for_each(|note| eprintln!("note: {note}"));
    let seed = plan.stages.first().map_or(0, |stage| stage.seed);
    let cpu = Cpu::with_limit(plan.device.memory());
    let mut engine = Engine::new(cpu, &plan, &checkpoint.weights, seed, Mode::Train)?;
    drop(checkpoint);
    run.record(&args.out)?;
    drive(&mut engine, &plan, &corpus, &run, args)?;
    let (planned, counted) = (plan.memory().total, engine.device().memory().1);
    println!("peak memory in buffers {}, planned {}", readable_bytes(counted), readable_bytes(planned));
    let metrics = MetricsLog::read(&args.out.join("metrics.jsonl"))?;
    let report = RunReport { plan: &plan, metrics: &metrics, perplexity: &[], passkey: &[], protocol: &[], files: &[] };
    let report = report.write(&args.out)?;
    println!("report  {}\nexport  … export --run {} --out DIR", report.display(), args.out.display());
    Ok(())
}

/// The sources; progress is shown where text has to be tokenised.
fn opened(data: &[SourcePlan], encoder: Arc<Encoder>, cache: &Path) -> Result<Corpus> {
    let (mut progress, mut last) = (None, (PathBuf::new(), 0));
    let corpus = Corpus::open(data, encoder, cache, &mut |reading| {
        let before = if last.0 == reading.path { last.1 } else { 0 };
        last = (reading.path.to_owned(), reading.done);
        let progress = progress.get_or_insert_with(|| Progress::new("tokenise", "bytes", 0));
        progress.advance_with(reading.done - before, &reading.path.display().to_string());
    })?;
    if let Some(progress) = progress {
        progress.finish("");
    }
    Ok(corpus)
}

fn drive(engine: &mut Engine<Cpu>, plan: &Plan, corpus: &impl Sequences, run: &Run, args: &TrainArgs) -> Result<()> {
    let steps: usize = plan.stages.iter().map(|stage| stage.steps).sum();
    let progress = Progress::new("train", "steps", steps as u64);
    let keeping = Keeping { out: &args.out, every: args.save_every as usize, keep: args.keep as usize };
    train::run(engine, plan, corpus, &run.origin, keeping, &mut |event| match event {
        Event::Resumed(resumed) => {
            progress.note(&format!(
                "resuming after step {} from {}",
                resumed.place.total_steps,
                resumed.path.display()
            ));
            if let Some(other) = &resumed.other_cpu {
                let this = &run.origin.cpu;
                progress.note(&format!(
                    "that checkpoint was written with {other}, this CPU uses {this}: roundings may differ"
                ));
            }
            progress.resume_at(resumed.place.total_steps as u64);
        }
        Event::Step(metrics) => progress.step(metrics),
    })?;
    progress.finish("trained");
    Ok(())
}

/// Until there is a CUDA engine, a recipe for it trains on the CPU when asked to.
fn on_cpu(plan: &Plan, device: Option<DeviceArg>) -> Result<Plan> {
    match (plan.device, device) {
        (Device::Cpu { .. }, _) => Ok(plan.clone()),
        (Device::Cuda { .. }, Some(DeviceArg::Cpu)) => {
            Ok(Plan { device: Device::Cpu { memory: u64::MAX }, ..plan.clone() })
        }
        (Device::Cuda { .. }, None) => Err(Error::usage(format!(
            "the recipe `{}` says `device: cuda(…)`, and this version trains on the CPU only. Add `--device cpu` to train it \
             here, or write `device: cpu(16GiB)` in the recipe",
            plan.name
        ))),
    }
}

/// The recipe's sources, or those of the command line in equal shares.
fn sources(plan: &Plan, globs: &[String]) -> Result<Vec<SourcePlan>> {
    if globs.is_empty() {
        if plan.data.is_empty() {
            return Err(Error::usage(format!(
                "the recipe `{}` has no `data`; add `--data 'corpus/*.txt'` or write `data: [text(\"corpus/*.txt\")]`",
                plan.name
            )));
        }
        return Ok(plan.data.to_vec());
    }
    let share = 1.0 / globs.len() as f64;
    let source = |glob: &String| SourcePlan { kind: kind(glob), share };
    Ok(globs.iter().map(source).collect())
}

fn kind(glob: &str) -> SourceKind {
    let glob = glob.to_owned().into();
    let lines = Path::new::<str>(AsRef::<str>::as_ref(&glob)).extension().is_some_and(|kind| kind == "jsonl");
    if lines { SourceKind::Jsonl { glob, field: "text".into() } } else { SourceKind::Text { glob } }
}

/// Whether a folder holds a run.
pub(super) fn is_run(path: &Path) -> bool {
    fs::exists(path.join("run.json")).unwrap_or(false)
}
