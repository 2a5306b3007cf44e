//! `train: […]`: stages, and the merges behind them.

use recipe_core::{Documents, Field, Merge, MergeForm, Schedule, Stage, StageKind};

use super::data::source;
use super::keys::{elements, form, list_in};
use crate::ast::Value;
use crate::bind::{Bound, Context};
use crate::words;

/// The stages, each with the merge that is written behind it.
pub(super) fn train(context: &mut Context, value: Option<&Value>) -> Vec<Stage> {
    let (mut stages, mut unread) = (Vec::new(), false);
    for element in value.map_or(&[][..], |value| elements(context, ("train", ":"), value)) {
        let Some((word, written)) = context.word("train", words::TRAIN, &[], element) else {
            unread = true;
            continue;
        };
        let field = Field::new("train").index(stages.len());
        if word.name == "merge" {
            let behind = Field::new("train").index(stages.len().saturating_sub(1)).key("merge");
            let bound = context.bind(word, written, &behind);
            // What stood before it may have been the stage that is missed.
            if !unread {
                add_merge(context, &mut stages, &bound, element, &behind);
            }
        } else {
            let bound = context.bind(word, written, &field);
            let data = written.args.iter().find(|arg| arg.name.as_ref().is_some_and(|name| name == "data"));
            let data = data.map(|arg| list_in(context, &field.key("data"), ("data", " ="), &arg.value, source));
            context.spans.note(&field, &element.tokens);
            stages.push(Stage { data: data.unwrap_or_default(), ..stage(word.name, &bound) });
        }
    }
    stages
}

/// A merge belongs to the stage before it; there must be one, and it takes one merge.
fn add_merge(context: &mut Context, stages: &mut [Stage], bound: &Bound, value: &Value, field: &Field) {
    let merge = Merge { base: bound.maybe("base"), form: bound.maybe("form").map(merge_form) };
    match stages.last_mut() {
        None => {
            let help = "write a stage such as `extend(steps = 1000)` before it";
            context.problem(&value.tokens, "nothing is trained before this merge", help);
        }
        Some(Stage { merge: Some(_), .. }) => {
            context.problem(&value.tokens, "two merges in a row are one", "remove one of the two");
        }
        Some(stage) => {
            context.spans.note(field, &value.tokens);
            stage.merge = Some(merge);
        }
    }
}

fn merge_form(word: &'static str) -> MergeForm {
    if word == "spherical" { MergeForm::Spherical } else { MergeForm::Linear }
}

/// A stage but for its data and what follows it.
fn stage(word: &str, bound: &Bound) -> Stage {
    Stage {
        kind: match word {
            "replay" => StageKind::Replay,
            "anneal" => StageKind::Anneal,
            "gates" => StageKind::Gates,
            _ => StageKind::Extend,
        },
        steps: bound.maybe("steps"),
        tokens: bound.maybe("tokens"),
        length: bound.maybe("length"),
        theta: bound.maybe("theta"),
        scale: bound.maybe("scale"),
        data: Vec::new(),
        documents: bound.maybe("documents").map(documents),
        lr: bound.maybe("lr"),
        warmup: bound.maybe("warmup"),
        batch: bound.maybe("batch"),
        schedule: bound.maybe("schedule").map(schedule),
        betas: bound.maybe("betas"),
        weight_decay: bound.maybe("weight_decay"),
        clip: bound.maybe("clip"),
        seed: bound.maybe("seed"),
        recompute: bound.maybe("recompute").map(|word: &str| word == "every"),
        offload: bound.maybe("offload"),
        sink: bound.maybe("sink"),
        recent: bound.maybe("recent"),
        reg: bound.maybe("reg"),
        form: bound.maybe("form").map(form),
        merge: None,
    }
}

fn documents(word: &'static str) -> Documents {
    if word == "joined" { Documents::Joined } else { Documents::Mask }
}

fn schedule(word: &'static str) -> Schedule {
    match word {
        "cosine" => Schedule::Cosine,
        "linear" => Schedule::Linear,
        "trapezoid" => Schedule::Trapezoid,
        _ => Schedule::Constant,
    }
}
