//! Rules about `select:`.

use super::{Case, Finding, Level, Rule, percent};
use crate::fault::Field;
use crate::plan::{SelectPlan, StagePlan};
use crate::recipe::Select;
use crate::terms::{Form, SourceKind, TokenType};

pub(super) const RULES: &[Rule] = &[
    Rule { name: "select_keep_range", level: Level::Law, find: select_keep_range },
    Rule { name: "no_types", level: Level::Law, find: no_types },
    Rule { name: "select_code_types", level: Level::Law, find: select_code_types },
    Rule { name: "select_without_training", level: Level::Guard, find: select_without_training },
    Rule { name: "select_without_files", level: Level::Guard, find: select_without_files },
    Rule { name: "select_leaves_chat", level: Level::Advice, find: select_leaves_chat },
];

fn one(field: Field, message: impl Into<String>, help: impl Into<String>) -> Vec<Finding> {
    vec![Finding::new(field, message.into(), help)]
}

fn field(key: &str) -> Field {
    Field::new("select").key(key)
}

/// The share of the other sentences that stays; with all of them nothing is dropped.
fn select_keep_range(case: &Case) -> Vec<Finding> {
    match case.recipe.select {
        Some(Select::Impactful { keep: Some(keep), .. }) if !(0.0..1.0).contains(&keep) => {
            let message = format!("keep {} is out of [0%, 100%): it is the share of other sentences", percent(keep));
            one(field("keep"), message, "write keep = 50%, or select: all")
        }
        _ => vec![],
    }
}

/// Without a type every sentence is one of the others.
fn no_types(case: &Case) -> Vec<Finding> {
    match &case.recipe.select {
        Some(Select::Impactful { types: Some(types), .. }) if types.is_empty() => {
            one(field("types"), "a list of no types selects nothing", "write types = [num, pron, aux]")
        }
        _ => vec![],
    }
}

/// The released program looks for digits alone.
fn select_code_types(case: &Case) -> Vec<Finding> {
    match &case.recipe.select {
        Some(Select::Impactful { types: Some(types), form: Some(Form::Code), .. })
            if types.iter().any(|kind| *kind != TokenType::Num) =>
        {
            let other = types.iter().find(|kind| **kind != TokenType::Num).map_or("", TokenType::word);
            let message = format!("form = code looks for digits alone, not for `{other}`");
            one(field("types"), message, "write form = paper, or leave types out")
        }
        _ => vec![],
    }
}

/// Stages that select, by their place.
fn selecting<'a>(case: &Case<'a>) -> Vec<(usize, &'a StagePlan)> {
    let stages = case.plan.stages.iter().enumerate();
    stages.filter(|(_, stage)| stage.select != SelectPlan::All).collect()
}

fn selects(case: &Case) -> bool {
    !matches!(case.recipe.select, None | Some(Select::All))
}

/// Text is selected for training, and replays read all of theirs.
fn select_without_training(case: &Case) -> Vec<Finding> {
    if !selects(case) || !selecting(case).is_empty() {
        return vec![];
    }
    let message = match case.recipe.train.is_empty() {
        true => "nothing is trained, so no text is ever selected",
        false => "replays and gates read all of their text, nothing else is trained",
    };
    one(Field::new("select"), message, "add an `extend(…)` stage")
}

fn from_files(kind: &SourceKind) -> bool {
    !kind.is_generated() && !matches!(kind, SourceKind::Chat { .. })
}

/// A conversation without some of its sentences is another one, and generated text needs no choice. Without `data` the
/// command line names files.
fn select_without_files(case: &Case) -> Vec<Finding> {
    let without =
        |stage: &StagePlan| !stage.data.is_empty() && !stage.data.iter().any(|source| from_files(&source.kind));
    let stages = selecting(case);
    if stages.is_empty() || !stages.iter().all(|(_, stage)| without(stage)) {
        return vec![];
    }
    let message = "conversations and passkey documents are read whole, and there is no other text";
    one(
        Field::new("select"),
        message,
        "add text(…), jsonl(…), parquet(…) or dataset(…) to `data`, or write select: all",
    )
}

/// Whoever mixes prose and conversations should know that only the prose gets shorter.
fn select_leaves_chat(case: &Case) -> Vec<Finding> {
    let mixed = |stage: &StagePlan| {
        let has = |wanted: &dyn Fn(&SourceKind) -> bool| stage.data.iter().any(|source| wanted(&source.kind));
        has(&from_files) && has(&|kind| matches!(kind, SourceKind::Chat { .. }))
    };
    match selecting(case).into_iter().find(|(_, stage)| mixed(stage)) {
        Some((index, _)) => {
            let message = format!("stage {} reads conversations, which are never cut by sentences", index + 1);
            one(Field::new("select"), message, "only text(…) and jsonl(…) are selected")
        }
        None => vec![],
    }
}
