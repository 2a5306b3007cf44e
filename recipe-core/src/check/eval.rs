//! Rules about `eval:`.

use super::{Case, Finding, Level, Rule};
use crate::fault::Field;
use crate::pattern::Pattern;
use crate::plan::{EvalPlan, RopePlan};
use crate::readable::readable_tokens as tokens;

pub(super) const RULES: &[Rule] = &[
    Rule { name: "no_eval_lengths", level: Level::Law, find: no_eval_lengths },
    Rule { name: "eval_too_short", level: Level::Law, find: eval_too_short },
    Rule { name: "eval_beyond_target", level: Level::Guard, find: eval_beyond_target },
    Rule { name: "k_max_steps", level: Level::Guard, find: k_max_steps },
    Rule { name: "max_loss_range", level: Level::Law, find: max_loss_range },
    Rule { name: "short_of_itself", level: Level::Advice, find: short_of_itself },
    Rule { name: "empty_choice", level: Level::Law, find: empty_choice },
];

/// A key and its question, as most tokenizers write them.
const KEY_AND_QUESTION: usize = 32;

/// Every length of every evaluation, with its place.
fn lengths<'a>(case: &'a Case) -> impl Iterator<Item = (Field, usize)> + 'a {
    let each = |(index, eval): (usize, &'a EvalPlan)| {
        let field = Field::new("eval").index(index);
        eval.lengths().unwrap_or_default().iter().enumerate().map(move |(place, length)| (field.index(place), *length))
    };
    case.plan.eval.iter().enumerate().flat_map(each)
}

/// An evaluation is asked for at some length.
fn no_eval_lengths(case: &Case) -> Vec<Finding> {
    let empty = case.plan.eval.iter().enumerate().filter(|(_, eval)| eval.lengths().is_some_and(<[usize]>::is_empty));
    let finding = |(index, eval): (usize, &EvalPlan)| {
        let help = format!("write {}", eval.written(case.plan.target));
        Finding::new(Field::new("eval").index(index), format!("{} at no length", eval.word()), help)
    };
    empty.map(finding).collect()
}

/// The loss is about the next token, so two are needed.
fn eval_too_short(case: &Case) -> Vec<Finding> {
    let short = lengths(case).filter(|(_, length)| *length < 2);
    let finding = |(field, length)| {
        let help = format!("write {}", tokens(case.plan.target.max(2)));
        Finding::new(field, format!("length {length} has no next token to predict"), help)
    };
    short.map(finding).collect()
}

/// What the recipe is not meant to reach tells nothing about it, and memory is planned for the target.
fn eval_beyond_target(case: &Case) -> Vec<Finding> {
    let target = case.plan.target;
    let long = lengths(case).filter(|(_, length)| *length > target);
    let finding = |(field, length)| {
        Finding::new(
            field,
            format!("length {} is beyond target {}", tokens(length), tokens(target)),
            format!("write {}", tokens(target)),
        )
    };
    long.map(finding).collect()
}

/// The nearest distance of `k_max` has to hold the end of a key and the question about it, or what is measured there is
/// another distance.
fn k_max_steps(case: &Case) -> Vec<Finding> {
    let each = |(index, eval): (usize, &EvalPlan)| {
        let EvalPlan::KMax { lengths, distances, .. } = eval else { return vec![] };
        let least = distances.saturating_mul(KEY_AND_QUESTION);
        let short = lengths.iter().enumerate().filter(|(_, length)| **length >= 2 && **length < least);
        let finding = |(place, length): (usize, &usize)| {
            let message = format!(
                "k_max at {} asks for a key every {} tokens, and a key with its question takes about {KEY_AND_QUESTION}",
                tokens(*length),
                length / distances.max(&1),
            );
            Finding::new(Field::new("eval").index(index).index(place), message, format!("write {}", tokens(least)))
        };
        short.map(finding).collect()
    };
    case.plan.eval.iter().enumerate().flat_map(each).collect()
}

/// What may be lost is a number of nats per token.
fn max_loss_range(case: &Case) -> Vec<Finding> {
    let each = |(index, eval): (usize, &EvalPlan)| match eval {
        EvalPlan::Short { max_loss } if !(max_loss.is_finite() && *max_loss >= 0.0) => Some(Finding::new(
            Field::new("eval").index(index).key("max_loss"),
            format!("max_loss {max_loss} is not a loss of 0 nats or more"),
            "write max_loss = 0.02, which is 2% of perplexity",
        )),
        _ => None,
    };
    case.plan.eval.iter().enumerate().filter_map(each).collect()
}

/// A model that is neither trained nor read in another way loses nothing.
fn short_of_itself(case: &Case) -> Vec<Finding> {
    let plan = case.plan;
    let full = plan.layers.iter().all(|pattern| *pattern == Pattern::Full);
    if !plan.stages.is_empty() || !full || plan.rope != RopePlan::native(&plan.model) {
        return vec![];
    }
    let shorts = plan.eval.iter().enumerate().filter(|(_, eval)| matches!(eval, EvalPlan::Short { .. }));
    let finding = |(index, _)| {
        let message = "short compares the model with itself: nothing trains it, and rope and attention are its own";
        Finding::new(Field::new("eval").index(index), message.to_owned(), "the difference will be 0")
    };
    shorts.map(finding).collect()
}

/// A path without a letter names no file.
fn empty_choice(case: &Case) -> Vec<Finding> {
    let empty = |eval: &EvalPlan| matches!(eval, EvalPlan::Choice { path } if path.trim().is_empty());
    let choices = case.plan.eval.iter().enumerate().filter(|(_, eval)| empty(eval));
    let finding = |(index, _)| {
        let help =
            "write choice(\"questions.jsonl\"), a file of lines {\"question\": …, \"choices\": […], \"answer\": 0}";
        Finding::new(Field::new("eval").index(index).key("path"), "choice of an empty path".to_owned(), help)
    };
    choices.map(finding).collect()
}
