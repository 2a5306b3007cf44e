//! Rules about `eval:`.

use super::{Case, Finding, Level, Rule};
use crate::fault::Field;
use crate::plan::EvalPlan;
use crate::readable::readable_tokens as tokens;

pub(super) const RULES: &[Rule] = &[
    Rule { name: "no_eval_lengths", level: Level::Law, find: no_eval_lengths },
    Rule { name: "eval_too_short", level: Level::Law, find: eval_too_short },
    Rule { name: "eval_beyond_target", level: Level::Guard, find: eval_beyond_target },
];

/// Every length of every evaluation, with its place.
fn lengths<'a>(case: &'a Case) -> impl Iterator<Item = (Field, usize)> + 'a {
    let each = |(index, eval): (usize, &'a EvalPlan)| {
        let field = Field::new("eval").index(index);
        eval.lengths().iter().enumerate().map(move |(place, length)| (field.index(place), *length))
    };
    case.plan.eval.iter().enumerate().flat_map(each)
}

/// An evaluation is asked for at some length.
fn no_eval_lengths(case: &Case) -> Vec<Finding> {
    let empty = case.plan.eval.iter().enumerate().filter(|(_, eval)| eval.lengths().is_empty());
    let finding = |(index, eval): (usize, &EvalPlan)| {
        let help = format!("write {}({})", eval.word(), tokens(case.plan.target));
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
