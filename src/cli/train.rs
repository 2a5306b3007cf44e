//! `train`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kernels::device::{Cpu, Device as _};
use recipe_core::{Device, Plan, SourceKind, SourcePlan, StagePlan, readable_bytes};

use super::args::{DeviceArg, TrainArgs};
use super::{interrupt, load};
use crate::data::{Corpora, Encoder};
use crate::engine::{Engine, Mode};
use crate::eval::Evaluation;
use crate::report::{self, Progress, RunReport};
use crate::train::{self, Event, Keeping, Lock, MetricsLog, Run};
use crate::{Error, Result};

pub(super) fn run(plan: &Plan, args: &TrainArgs) -> Result<()> {
    let plan = on_cpu(plan, args.device)?;
    let read = with_data(&plan, &args.data)?;
    print!("{}", report::plan_text(&plan));
    let _lock = Lock::take(&args.out)?;
    let checkpoint = load::checkpoint(&plan, &args.model, args.adapter.as_deref())?;
    let encoder = load::encoder(&checkpoint)?;
    let corpora = opened(&read, &encoder, &args.out.join("cache"))?;
    let run = Run::new(&plan, &args.model, args.adapter.as_deref(), &checkpoint, &corpora)?;
    corpora.notes(&read).iter().for_each(|note| eprintln!("note: {note}"));
    if args.dry_run {
        return would_read(&read, &corpora);
    }
    let seed = plan.stages.first().map_or(0, |stage| stage.seed);
    let cpu = Cpu::with_limit(plan.device.memory());
    let mut engine = Engine::new(cpu, &plan, &checkpoint.weights, seed, Mode::training(&plan))?;
    drop(checkpoint);
    run.record(&args.out)?;
    drive(&mut engine, &read, &corpora, &run, args)?;
    let (planned, counted) = (plan.memory().total, engine.device().memory().1);
    println!("peak memory in buffers {}, planned {}", readable_bytes(counted), readable_bytes(planned));
    if let Some(gates) = engine.gates() {
        let file = train::save_gates(&args.out, &gates)?;
        println!("{}\ngates   {}", report::gates_words(&plan, &gates), file.display());
    }
    let metrics = MetricsLog::read(&args.out.join("metrics.jsonl"))?;
    let report =
        RunReport { plan: &plan, metrics: &metrics, evaluation: &Evaluation::default(), protocol: &[], files: &[] };
    let report = report.write(&args.out)?;
    println!("report  {}\nexport  … export --run {} --out DIR", report.display(), args.out.display());
    Ok(())
}

/// What each stage would read first.
fn would_read(plan: &Plan, corpora: &Corpora) -> Result<()> {
    for (number, stage) in plan.stages.iter().enumerate() {
        let batch = train::sequence(corpora, stage, 0)?;
        let documents = batch.starts().iter().enumerate().filter(|(row, start)| row == *start).count();
        let last = batch.positions.iter().max().copied().unwrap_or(0);
        println!(
            "stage {}, first sequence: {} tokens, {} of them learned, documents: {documents}, positions up to {last}",
            number + 1,
            batch.len(),
            batch.counted(),
        );
    }
    println!("nothing was trained (--dry-run)");
    Ok(())
}

/// The sources of all stages; progress is shown where text has to be tokenised.
fn opened(plan: &Plan, encoder: &Arc<Encoder>, cache: &Path) -> Result<Corpora> {
    let (mut progress, mut last) = (None, (PathBuf::new(), 0));
    let corpora = Corpora::open(plan, encoder, cache, &mut |reading| {
        let before = if last.0 == reading.path { last.1 } else { 0 };
        last = (reading.path.to_owned(), reading.done);
        let progress = progress.get_or_insert_with(|| Progress::new("tokenise", "bytes", 0));
        progress.advance_with(reading.done - before, &reading.path.display().to_string());
    })?;
    if let Some(progress) = progress {
        progress.finish("");
    }
    Ok(corpora)
}

fn drive(engine: &mut Engine<Cpu>, plan: &Plan, corpora: &Corpora, run: &Run, args: &TrainArgs) -> Result<()> {
    let progress = Progress::training(plan);
    interrupt::watch();
    let keeping =
        Keeping { out: &args.out, every: args.save_every as usize, keep: args.keep as usize, stop: interrupt::asked };
    // Not kept in memory: a merge is rare, and a model is large.
    let original = || Ok(load::weights(&run.model, run.adapter.as_deref())?);
    train::run(engine, plan, corpora, &run.origin, keeping, &original, &mut |event| match event {
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
        Event::Merged(stage) => progress.note(&report::merge_words(&stage.merge)),
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

/// The plan with what it reads: the command line's globs, in equal shares, stand for the recipe's `data`, and so for that of
/// every stage without its own.
fn with_data(plan: &Plan, globs: &[String]) -> Result<Plan> {
    if globs.is_empty() {
        if plan.data.is_empty() && plan.stages.iter().any(|stage| stage.data.is_empty()) {
            return Err(Error::usage(format!(
                "the recipe `{}` has no `data`; add `--data 'corpus/*.txt'` or write `data: [text(\"corpus/*.txt\")]`",
                plan.name
            )));
        }
        return Ok(plan.clone());
    }
    let share = 1.0 / globs.len() as f64;
    let data: Vec<SourcePlan> = globs.iter().map(|glob| SourcePlan::new(kind(glob), share)).collect();
    let stage = |stage: &StagePlan| match stage.data == plan.data {
        true => StagePlan { data: data.clone().into(), ..stage.clone() },
        false => stage.clone(),
    };
    let stages = plan.stages.iter().map(stage).collect();
    Ok(Plan { data: data.clone().into(), stages, ..plan.clone() })
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
