//! `eval`.

mod wanted;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kernels::device::Cpu;
use recipe_core::{EvalPlan, Plan};

use super::args::EvalArgs;
use super::load;
use crate::data::Encoder;
use crate::engine::{Engine, Mode};
use crate::eval::{self, ChoiceQuestion, Evaluation, KMaxTest, Perplexity, Short};
use crate::report::{self, Progress};
use crate::{Error, Result};

pub(super) fn run(plan: &Plan, args: &EvalArgs) -> Result<()> {
    let wanted = wanted::wanted(plan, args)?;
    // What is wrong with the command line or its files is said before a model is read.
    let questions = questions(&wanted)?;
    let base = base(plan, args, &wanted)?;
    let mut session = Session::open(plan, (&args.model, args.adapter.as_deref()), args)?;
    let mut shorts = vec![];
    for eval in &wanted {
        match eval {
            EvalPlan::Short { max_loss } => shorts.push((*max_loss, session.loss(plan.model.context)?)),
            other => session.measure(other, &questions)?,
        }
    }
    let mut found = std::mem::take(&mut session.found);
    drop(session);
    if let Some(base) = base {
        found.short = compared(plan, base, args, &shorts)?;
    }
    if args.json {
        super::print_json(&found)?
    } else {
        print!("{}", report::evaluation_text(&found))
    }
    kept(&found.short)
}

/// A model's path, and its adapter's.
type Model<'a> = (&'a Path, Option<&'a Path>);

/// A model, what it is asked, and what was found so far.
struct Session<'a> {
    engine: Engine<Cpu>,
    encoder: Arc<Encoder>,
    args: &'a EvalArgs,
    /// Of `--text`.
    tokens: Vec<u32>,
    target: usize,
    found: Evaluation,
}

impl<'a> Session<'a> {
    fn open(plan: &Plan, (model, adapter): Model<'_>, args: &'a EvalArgs) -> Result<Self> {
        let checkpoint = load::checkpoint(plan, model, adapter)?;
        let plan = load::with_gates(plan, model)?;
        let encoder = load::encoder(&checkpoint)?;
        let cpu = Cpu::with_limit(plan.device.memory());
        let engine = Engine::new(cpu, &plan.merged(), &checkpoint.weights, 0, Mode::Infer)?;
        let tokens = match &args.text {
            Some(path) => {
                let cannot = |error| Error::usage(format!("{}: {error}", path.display()));
                encoder.encode(&fs::read_to_string(path).map_err(cannot)?)?
            }
            None => vec![],
        };
        Ok(Self { engine, encoder, args, tokens, target: plan.target, found: Evaluation::default() })
    }

    fn measure(&mut self, eval: &EvalPlan, questions: &[(PathBuf, Vec<ChoiceQuestion>)]) -> Result<()> {
        let documents = self.args.documents as usize;
        for &context in eval.lengths().unwrap_or_default() {
            let (engine, encoder, seed) = (&mut self.engine, &*self.encoder, self.args.seed);
            let title = format!("{} at {context}", eval.word());
            match *eval {
                EvalPlan::Perplexity { .. } => {
                    let loss = self.loss(context)?;
                    self.found.perplexity.push(loss);
                }
                EvalPlan::Passkey { .. } => {
                    self.found.passkey.extend(watched(&title, "documents", documents, |tick| {
                        eval::passkey(engine, encoder, context, documents, seed, tick)
                    })?)
                }
                EvalPlan::KMax { distances, trials, success, .. } => {
                    let tested = KMaxTest { distances, trials, success };
                    self.found.k_max.push(watched(&title, "documents", tested.documents(), |tick| {
                        eval::k_max(engine, encoder, context, tested, seed, tick)
                    })?);
                }
                EvalPlan::Needle { kind, .. } => {
                    let title = format!("needle {} at {context}", kind.word());
                    let total = eval::needle_documents(kind, documents);
                    self.found.needle.extend(watched(&title, "documents", total, |tick| {
                        eval::needle(engine, encoder, kind, context, documents, seed, tick)
                    })?);
                }
                EvalPlan::Topics { .. } => self.found.topics.push(watched(&title, "documents", documents, |tick| {
                    eval::topic(engine, encoder, context, documents, seed, tick)
                })?),
                EvalPlan::Short { .. } | EvalPlan::Choice { .. } => {}
            }
        }
        if let EvalPlan::Choice { path } = eval {
            let asked = questions.iter().filter(|(file, _)| file.as_path() == Path::new::<str>(path));
            for (file, questions) in asked {
                let (engine, encoder, longest) = (&mut self.engine, &*self.encoder, self.target);
                self.found.choice.push(watched("choice", "questions", questions.len(), |tick| {
                    eval::choice(engine, encoder, file, questions, longest, tick)
                })?);
            }
        }
        Ok(())
    }

    /// Loss of `--text` in pieces of `context` tokens, or in windows where a stride was given.
    fn loss(&mut self, context: usize) -> Result<Perplexity> {
        let (engine, tokens, title) = (&mut self.engine, &self.tokens, format!("perplexity at {context}"));
        let documents = self.args.documents as usize;
        match self.args.stride {
            Some(stride) => {
                let windows = tokens.len().saturating_sub(context) / stride.max(1) + 1;
                watched(&title, "windows", windows, |tick| eval::sliding(engine, tokens, context, stride, tick))
            }
            None => {
                let pieces = (tokens.len() / context.max(1)).min(documents);
                watched(&title, "pieces", pieces, |tick| eval::by_position(engine, tokens, context, documents, tick))
            }
        }
    }
}

/// Shows how far `work` has come.
fn watched<T>(
    title: &str,
    unit: &str,
    total: usize,
    work: impl FnOnce(&mut dyn FnMut(usize)) -> std::result::Result<T, eval::Error>,
) -> Result<T> {
    let progress = Progress::new(title, unit, total as u64);
    let found = work(&mut |_| progress.advance(1))?;
    progress.finish("");
    Ok(found)
}

/// The files of `choice`, each read once.
fn questions(wanted: &[EvalPlan]) -> Result<Vec<(PathBuf, Vec<ChoiceQuestion>)>> {
    let files = wanted.iter().filter_map(|eval| match eval {
        EvalPlan::Choice { path } => Some(PathBuf::from(path.as_ref())),
        _ => None,
    });
    files.map(|file| Ok((file.clone(), eval::read_choices(&file)?))).collect()
}

/// The untouched model, where `short` is wanted. A recipe that trains nothing has the same weights.
fn base<'a>(plan: &Plan, args: &'a EvalArgs, wanted: &[EvalPlan]) -> Result<Option<Model<'a>>> {
    if !wanted.iter().any(|eval| matches!(eval, EvalPlan::Short { .. })) {
        return Ok(None);
    }
    if args.text.is_none() {
        return Err(Error::usage("`short` scores a text; give one with --text FILE".to_owned()));
    }
    match &args.base {
        Some(base) => Ok(Some((base, None))),
        None if plan.stages.is_empty() => Ok(Some((&args.model, args.adapter.as_deref()))),
        None => Err(Error::usage(format!(
            "`short` compares with the model as it was before the recipe `{}` trained it; give that one with --base DIR, or \
             leave `short` out with --only",
            plan.name
        ))),
    }
}

/// Each measured loss beside the untouched model's.
fn compared(plan: &Plan, base: Model<'_>, args: &EvalArgs, ours: &[(f64, Perplexity)]) -> Result<Vec<Short>> {
    let theirs = Session::open(&plan.untouched(), base, args)?.loss(plan.model.context)?;
    Ok(ours.iter().map(|(max_loss, ours)| Short::new(ours, &theirs, *max_loss)).collect())
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
