//! A model and what it is asked, one measurement at a time.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kernels::device::Device;
use recipe_core::{EvalPlan, Plan};
use serde::Serialize;

use crate::Result;
use crate::cli::args::{EvalArgs, TrainArgs};
use crate::cli::machine::Open;
use crate::data::{Encoder, read_text};
use crate::engine::{Engine, Mode};
use crate::eval::{self, ChoiceQuestion, Evaluation, KMaxTest, Perplexity};
use crate::hub::Tensors;
use crate::report::Progress;
use crate::train::digest_of;

/// What to measure, and on what.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct Ask {
    /// In order.
    pub(super) wanted: Vec<EvalPlan>,
    /// The files of `choice`, each read once.
    #[serde(skip)]
    pub(super) questions: Vec<(PathBuf, Vec<ChoiceQuestion>)>,
    /// What losses are measured on; chronicles are written where there is none.
    pub(super) text: Option<String>,
    /// Pieces of the text, and exams, at each length.
    pub(super) documents: usize,
    /// Of a sliding window.
    pub(super) stride: Option<usize>,
    /// Of the exams.
    pub(super) seed: u64,
    /// What the model is held for.
    #[serde(skip)]
    pub(super) mode: Mode,
}

impl Ask {
    /// What a command line asks for.
    pub(super) fn of(wanted: Vec<EvalPlan>, args: &EvalArgs) -> Result<Self> {
        let text = args.text.as_deref().map(read_text).transpose()?;
        let (questions, documents) = (questions(&wanted)?, args.documents as usize);
        let (stride, seed, mode) = (args.stride, args.seed, args.weights.mode());
        Ok(Self { wanted, questions, text, documents, stride, seed, mode })
    }

    /// What a recipe lists, for the run that trains it.
    pub(in crate::cli) fn of_recipe(plan: &Plan, args: &TrainArgs) -> Result<Self> {
        let text = args.eval_text.as_deref().map(read_text).transpose()?;
        let wanted = super::wanted::of_run(plan.eval.to_vec(), text.is_some());
        let (questions, documents) = (questions(&wanted)?, args.eval_documents as usize);
        Ok(Self { wanted, questions, text, documents, ..Self::nothing() })
    }

    /// Nothing at all.
    pub(in crate::cli) fn nothing() -> Self {
        Self { wanted: vec![], questions: vec![], text: None, documents: 0, stride: None, seed: 0, mode: Mode::Infer }
    }

    /// Whether nothing is asked.
    pub(in crate::cli) fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// The measurements, each at one length.
    pub(super) fn units(&self) -> Vec<EvalPlan> {
        let at_each = |eval: &EvalPlan| match eval.lengths() {
            Some(lengths) => lengths.iter().map(|&length| super::wanted::at(eval, length)).collect(),
            None => vec![eval.clone()],
        };
        self.wanted.iter().flat_map(at_each).collect()
    }

    /// Another digest wherever another figure may come out.
    pub(super) fn digest(&self) -> String {
        let asked = |(_, questions): &(PathBuf, Vec<ChoiceQuestion>)| {
            let words = |it: &ChoiceQuestion| (it.question.clone(), it.choices.clone(), it.answer);
            questions.iter().map(words).collect::<Vec<_>>()
        };
        digest_of(&(self, self.questions.iter().map(asked).collect::<Vec<_>>()))
    }
}

/// The files of `choice`, each read once.
fn questions(wanted: &[EvalPlan]) -> Result<Vec<(PathBuf, Vec<ChoiceQuestion>)>> {
    let files = wanted.iter().filter_map(|eval| match eval {
        EvalPlan::Choice { path } => Some(PathBuf::from(path.as_ref())),
        _ => None,
    });
    files.map(|file| Ok((file.clone(), eval::read_choices(&file)?))).collect()
}

/// A model, what it is asked, and what was found so far.
pub(super) struct Session<'a, D: Device> {
    engine: Engine<D>,
    encoder: Arc<Encoder>,
    ask: &'a Ask,
    /// Of the text.
    tokens: Option<Vec<u32>>,
    /// Stands before what progress says.
    name: &'a str,
    native: usize,
    target: usize,
    pub(super) found: Evaluation,
}

impl<'a, D: Device> Session<'a, D> {
    /// `plan` says how `weights`, a whole model's, are read.
    pub(super) fn open(
        open: Open<'_, D>,
        plan: &Plan,
        weights: &dyn Tensors,
        encoder: &Arc<Encoder>,
        ask: &'a Ask,
        name: &'a str,
    ) -> Result<Self> {
        let engine = Engine::new(open()?, plan, weights, 0, ask.mode)?;
        let tokens = ask.text.as_ref().map(|text| encoder.encode(text)).transpose()?;
        let (encoder, native, target) = (Arc::clone(encoder), plan.model.context, plan.target);
        Ok(Self { engine, encoder, ask, tokens, name, native, target, found: Evaluation::default() })
    }

    /// One of [`Ask::units`].
    pub(super) fn measure(&mut self, unit: &EvalPlan) -> Result<()> {
        if let EvalPlan::Choice { path } = unit {
            return self.choose(Path::new::<str>(path));
        }
        // `short` compares losses inside the native window, which are figures like others.
        let context = unit.lengths().and_then(|lengths| lengths.first().copied()).unwrap_or(self.native);
        let (engine, encoder) = (&mut self.engine, &*self.encoder);
        let (documents, seed) = (self.ask.documents, self.ask.seed);
        let title = format!("{}{} at {context}", self.name, unit.word());
        match *unit {
            EvalPlan::Perplexity { .. } | EvalPlan::Short { .. } => {
                if self.found.perplexity.iter().all(|found| found.context != context) {
                    let loss = self.loss(context)?;
                    self.found.perplexity.push(loss);
                }
            }
            EvalPlan::Passkey { .. } => {
                self.found.passkey.extend(watched(&title, "documents", documents, |tick| {
                    eval::passkey(engine, encoder, context, documents, seed, tick)
                })?);
            }
            EvalPlan::KMax { distances, trials, success, .. } => {
                let tested = KMaxTest { distances, trials, success };
                self.found.k_max.push(watched(&title, "documents", tested.documents(), |tick| {
                    eval::k_max(engine, encoder, context, tested, seed, tick)
                })?);
            }
            EvalPlan::Needle { kind, .. } => {
                let title = format!("{}needle {} at {context}", self.name, kind.word());
                let total = eval::needle_documents(kind, documents);
                self.found.needle.extend(watched(&title, "documents", total, |tick| {
                    eval::needle(engine, encoder, kind, context, documents, seed, tick)
                })?);
            }
            EvalPlan::Topics { .. } => self.found.topics.push(watched(&title, "documents", documents, |tick| {
                eval::topic(engine, encoder, context, documents, seed, tick)
            })?),
            EvalPlan::Choice { .. } => {}
        }
        Ok(())
    }

    fn choose(&mut self, path: &Path) -> Result<()> {
        let (title, longest) = (format!("{}choice", self.name), self.target);
        for (file, questions) in self.ask.questions.iter().filter(|(file, _)| file.as_path() == path) {
            let (engine, encoder) = (&mut self.engine, &*self.encoder);
            self.found.choice.push(watched(&title, "questions", questions.len(), |tick| {
                eval::choice(engine, encoder, file, questions, longest, tick)
            })?);
        }
        Ok(())
    }

    /// Loss of the text in pieces of `context` tokens, or in windows where a stride was given, or of chronicles.
    fn loss(&mut self, context: usize) -> Result<Perplexity> {
        let (engine, title) = (&mut self.engine, format!("{}perplexity at {context}", self.name));
        let (documents, seed) = (self.ask.documents, self.ask.seed);
        match (&self.tokens, self.ask.stride) {
            (None, _) => watched(&title, "documents", documents, |tick| {
                eval::of_chronicles(engine, &self.encoder, context, documents, seed, tick)
            }),
            (Some(tokens), Some(stride)) => {
                let windows = tokens.len().saturating_sub(context) / stride.max(1) + 1;
                watched(&title, "windows", windows, |tick| eval::sliding(engine, tokens, context, stride, tick))
            }
            (Some(tokens), None) => {
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
