//! `train`.

use kernels::device::Device;
use recipe_core::{Plan, readable_bytes};

use super::args::TrainArgs;
use super::eval::{Ask, OfRun, redraw};
use super::machine::{self, Open, on_machine};
use super::{interrupt, load, output, overrides, sources};
use crate::data::Corpora;
use crate::engine::{Engine, Mode};
use crate::hub::Header;
use crate::report::{self, Progress};
use crate::train::{self, Checkpoints, Event, Keeping, Lock, Place, Run};
use crate::{Error, Result};

pub(super) fn run(plan: &Plan, args: &TrainArgs) -> Result<()> {
    let (plan, machine) = machine::chosen(plan, args.device)?;
    let plan = overrides::applied(&plan, args)?;
    on_machine!(machine, open => on(open, plan, args))
}

fn on<D: Device>(open: Open<'_, D>, plan: Plan, args: &TrainArgs) -> Result<()> {
    sources::check(&plan, &args.data)?;
    let ask = asked(&plan, args)?;
    output::print(report::plan_text(&plan))?;
    let _lock = Lock::take(&args.out)?;
    let cache = args.out.join("cache");
    let read = sources::with_data(&plan, &args.data, &cache)?;
    let model = load::model(&plan, &args.model, args.adapter.as_deref())?;
    let encoder = load::encoder(&model)?;
    // Reads every weight: one that is damaged is said before text is tokenised.
    let base = train::weights_digest(&model)?;
    let corpora = sources::opened(&read, &encoder, &cache)?;
    let device = open()?.describe().map_err(crate::engine::Error::from)?;
    let run = Run::new(&plan, &args.model, args.adapter.as_deref(), base, &corpora, &device)?
        .overridden(overrides::words(args));
    corpora.notes(&read).iter().for_each(|note| tell!("note: {note}"));
    if args.dry_run {
        return would_read(&read, &corpora);
    }
    // Another run's folder is left as it is.
    Checkpoints::new(&args.out, 1).check(&run.plan, &run.origin)?;
    run.record(&args.out)?;
    let course = OfRun { open, out: &args.out, plan: &plan, origin: &run.origin, ask: &ask, encoder: &encoder };
    if !ask.is_empty() {
        let hint = |_: &Error| tell!("note: --no-eval trains without measuring before and after");
        course.before(&model).inspect_err(hint)?;
    }
    let seed = plan.stages.first().map_or(0, |stage| stage.seed);
    let mut engine = Engine::new(open()?, &plan, &model, seed, Mode::training(&plan))?;
    let driven = drive(&mut engine, (&read, &model), &corpora, &run, args);
    // A run that was stopped has a report too.
    redraw(&plan, &args.out)?;
    finished(engine, &driven?, &course)
}

/// What a run says and measures at its end.
fn finished<D: Device>(engine: Engine<D>, place: &Place, course: &OfRun<'_, D>) -> Result<()> {
    let (plan, out) = (course.plan, course.out);
    let (planned, counted) = (plan.memory().total, engine.device().memory().1);
    say!("peak memory in buffers {}, planned {}", readable_bytes(counted), readable_bytes(planned))?;
    let gates = engine.gates();
    if let Some(gates) = &gates {
        let file = train::save_gates(out, gates)?;
        say!("{}\ngates   {}", report::gates_words(plan, gates), file.display())?;
    }
    let measured = if course.ask.is_empty() { Ok(()) } else { course.after(engine, place, gates.as_ref()) };
    let page = redraw(plan, out)?;
    say!("report  {}\nexport  … export --run {} --out DIR", page.display(), out.display())?;
    measured
}

/// What is measured before the first step and after the last.
fn asked(plan: &Plan, args: &TrainArgs) -> Result<Ask> {
    if args.no_eval { Ok(Ask::nothing()) } else { Ask::of_recipe(plan, args) }
}

/// What each stage would read first.
fn would_read(plan: &Plan, corpora: &Corpora) -> Result<()> {
    for (number, stage) in plan.stages.iter().enumerate() {
        let batch = train::sequence(corpora, stage, 0)?;
        let documents = batch.starts().iter().enumerate().filter(|(row, start)| row == *start).count();
        let last = batch.positions.iter().max().copied().unwrap_or(0);
        say!(
            "stage {}, first sequence: {} tokens, {} of them learned, documents: {documents}, positions up to {last}",
            number + 1,
            batch.len(),
            batch.counted(),
        )?;
    }
    say!("nothing was trained (--dry-run)")
}

fn drive<D: Device>(
    engine: &mut Engine<D>,
    (plan, model): (&Plan, &Header),
    corpora: &Corpora,
    run: &Run,
    args: &TrainArgs,
) -> Result<Place> {
    let progress = Progress::training(plan);
    interrupt::watch();
    let keeping =
        Keeping { out: &args.out, every: args.save_every as usize, keep: args.keep as usize, stop: interrupt::asked };
    let place = train::run(engine, plan, corpora, &run.origin, keeping, model, &mut |event| match event {
        Event::Resumed(resumed) => {
            let overrides = run.origin.overrides.iter().map(|words| format!(" {words}")).collect::<String>();
            progress.note(&format!(
                "resuming after step {} from {}{}{overrides}",
                resumed.place.total_steps,
                resumed.path.display(),
                if overrides.is_empty() { "" } else { ", as before with" }
            ));
            if let Some(other) = &resumed.other_device {
                let this = &run.origin.device;
                progress
                    .note(&format!("that checkpoint was written on {other}, and this is {this}: roundings may differ"));
            }
            progress.resume_at(resumed.place.total_steps as u64);
        }
        Event::Step(metrics) => progress.step(metrics),
        Event::Merged(stage) => progress.note(&report::merge_words(&stage.merge)),
    })?;
    progress.finish("trained");
    Ok(place)
}
