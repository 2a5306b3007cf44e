//! `eval`: a model, or a run with the model that it began with.

mod kept;
mod session;
mod wanted;

use std::path::Path;

use kernels::device::Device;
use recipe_core::{EvalPlan, Plan};

use super::args::EvalArgs;
use super::machine::{self, Open, on_machine};
use super::{load, output, trained};
use crate::engine::{Engine, Mode};
use crate::eval::{Evaluation, Short};
use crate::train::{Checkpoints, Lock, Run};
use crate::{Error, Result, report};

pub(super) use self::kept::{OfRun, redraw};
pub(super) use self::session::Ask;
use self::session::Session;

pub(super) fn run(plan: &Plan, args: &EvalArgs) -> Result<()> {
    let wanted = wanted::wanted(plan, args)?;
    match (&args.run, &args.model) {
        (Some(dir), base) => of_run(plan, dir, base.as_deref(), args, wanted),
        (None, Some(model)) => {
            let (plan, machine) = machine::chosen(plan, args.device)?;
            on_machine!(machine, open => of_model(open, &plan, model, args, wanted))
        }
        (None, None) => Err(Error::usage("give --model DIR or --run RUN".to_owned())),
    }
}

/// What is wrong with the command line or its files is said before a model is read.
fn of_model<D: Device>(
    open: Open<'_, D>,
    plan: &Plan,
    model: &Path,
    args: &EvalArgs,
    wanted: Vec<EvalPlan>,
) -> Result<()> {
    let base = base(plan, (model, args.adapter.as_deref()), args, &wanted)?;
    let ask = Ask::of(wanted, args)?;
    let mut found = measured(open, &load::with_gates(plan, model)?.merged(), (model, args.adapter.as_deref()), &ask)?;
    if let Some(base) = base {
        let limits = ask.wanted.iter().filter_map(limit).collect::<Vec<_>>();
        let first = ask.wanted.iter().find(|eval| limit(eval).is_some()).cloned();
        let theirs = measured(open, &plan.untouched(), base, &Ask { wanted: first.into_iter().collect(), ..ask })?;
        found.short = shorts(limits, plan.model.context, &found, &theirs);
    }
    if args.json {
        super::print_json(&found)?
    } else {
        output::print(report::evaluation_text(&found))?
    }
    kept(&found.short)
}

/// A model's path, and its adapter's.
type Model<'a> = (&'a Path, Option<&'a Path>);

fn measured<D: Device>(open: Open<'_, D>, plan: &Plan, (model, adapter): Model<'_>, ask: &Ask) -> Result<Evaluation> {
    let model = load::model(plan, model, adapter)?;
    let encoder = load::encoder(&model)?;
    let mut session = Session::open(open, plan, &model, &encoder, ask, "")?;
    ask.units().iter().try_for_each(|unit| session.measure(unit))?;
    Ok(session.found)
}

/// The newest checkpoint of a run and the model that it began with, measured into the run's folder; its report is redrawn.
fn of_run(plan: &Plan, dir: &Path, moved: Option<&Path>, args: &EvalArgs, wanted: Vec<EvalPlan>) -> Result<()> {
    let run = trained::run_in(plan, dir)?;
    let ask = Ask::of(wanted, args)?;
    let _lock = Lock::take(dir)?;
    let (_, machine) = machine::chosen(&run.plan, args.device)?;
    let measured = on_machine!(machine, open => of_checkpoint(open, &run, (dir, moved), &ask))?;
    let page = redraw(&run.plan, dir)?;
    let found = kept::read(dir);
    if args.json {
        super::print_json(&found)?;
    } else {
        say!("{}report  {}", report::evaluation_text(&found), page.display())?;
    }
    measured
}

/// What is measured, which may be that too much was lost; an error where nothing can be.
fn of_checkpoint<D: Device>(
    open: Open<'_, D>,
    run: &Run,
    (dir, moved): (&Path, Option<&Path>),
    ask: &Ask,
) -> Result<Result<()>> {
    let plan = &run.plan;
    let base = load::model(plan, moved.unwrap_or(&run.model), run.adapter.as_deref())?;
    let encoder = load::encoder(&base)?;
    let course = OfRun { open, out: dir, plan, origin: &run.origin, ask, encoder: &encoder };
    course.before(&base)?;
    let mut engine = Engine::new(open()?, plan, &base, 0, Mode::training(plan))?;
    let Some(resumed) = Checkpoints::new(dir, 1).resume(&mut engine, &run.origin)? else {
        return Err(Error::usage(format!("{}: this run has no checkpoint yet", dir.display())));
    };
    let gates = trained::gates(plan, &engine, &resumed.place);
    Ok(course.after(engine, &resumed.place, gates.as_ref()))
}

fn limit(eval: &EvalPlan) -> Option<f64> {
    match eval {
        EvalPlan::Short { max_loss } => Some(*max_loss),
        _ => None,
    }
}

/// The untouched model, where `short` is wanted. A recipe that trains nothing has the same weights.
fn base<'a>(plan: &Plan, model: Model<'a>, args: &'a EvalArgs, wanted: &[EvalPlan]) -> Result<Option<Model<'a>>> {
    if !wanted.iter().any(|eval| limit(eval).is_some()) {
        return Ok(None);
    }
    if args.text.is_none() {
        return Err(Error::usage("`short` scores a text; give one with --text FILE".to_owned()));
    }
    match &args.base {
        Some(base) => Ok(Some((base, None))),
        None if plan.stages.is_empty() => Ok(Some(model)),
        None => Err(Error::usage(format!(
            "`short` compares with the model as it was before the recipe `{}` trained it; give that one with --base DIR, or \
             leave `short` out with --only",
            plan.name
        ))),
    }
}

/// For each limit the loss inside the native window beside the untouched model's, where both were measured.
fn shorts(limits: impl IntoIterator<Item = f64>, native: usize, ours: &Evaluation, theirs: &Evaluation) -> Vec<Short> {
    let at_home = |found: &Evaluation| found.perplexity.iter().find(|found| found.context == native).cloned();
    let Some((ours, theirs)) = at_home(ours).zip(at_home(theirs)) else { return vec![] };
    limits.into_iter().map(|most| Short::new(&ours, &theirs, most)).collect()
}

/// An error where too much was lost.
fn kept(shorts: &[Short]) -> Result<()> {
    match shorts.iter().find(|short| !short.kept) {
        None => Ok(()),
        Some(short) => Err(Error::usage(format!(
            "abilities inside the native window are not kept: {:.4} nats per token instead of {:.4}, {:+.4}; `short` allows {}",
            short.nll, short.base_nll, short.loss, short.max_loss
        ))),
    }
}
