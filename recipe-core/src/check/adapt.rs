//! Rules about `adapt:`.

use super::{Case, Finding, Level, Rule, percent};
use crate::fault::Field;
use crate::recipe::Adapt;
use crate::terms::Target;

pub(super) const RULES: &[Rule] = &[
    Rule { name: "zero_rank", level: Level::Law, find: zero_rank },
    Rule { name: "rank_too_wide", level: Level::Guard, find: rank_too_wide },
    Rule { name: "alpha_range", level: Level::Law, find: alpha_range },
    Rule { name: "dropout_range", level: Level::Law, find: dropout_range },
    Rule { name: "no_targets", level: Level::Law, find: no_targets },
    Rule { name: "duplicate_target", level: Level::Law, find: duplicate_target },
    Rule { name: "adapter_needs_merge", level: Level::Advice, find: adapter_needs_merge },
    Rule { name: "adapter_without_training", level: Level::Advice, find: adapter_without_training },
];

fn field(key: &str) -> Field {
    Field::new("adapt").key(key)
}

/// An adapter of rank 0 has no weights.
fn zero_rank(case: &Case) -> Vec<Finding> {
    match case.recipe.adapt {
        Some(Adapt::Lora { rank: 0, .. }) => {
            vec![Finding::new(field("rank"), "rank 0 adapts nothing".into(), "write rank = 32")]
        }
        _ => vec![],
    }
}

/// The product of A and B has no higher rank than the projection; beyond that, weights are wasted.
fn rank_too_wide(case: &Case) -> Vec<Finding> {
    let Some(Adapt::Lora { rank, .. }) = case.recipe.adapt else {
        return vec![];
    };
    let width = |target: &Target| target.shape(&case.plan.model).into_iter().min().unwrap_or(0);
    let adapted = Target::ALL.into_iter().filter(|target| case.plan.adapt.rank(*target).is_some());
    let Some(narrowest) = adapted.min_by_key(width) else {
        return vec![];
    };
    let most = width(&narrowest);
    if rank <= most || most == 0 {
        return vec![];
    }
    let [rows, columns] = narrowest.shape(&case.plan.model);
    let message = format!("rank {rank} is wider than {}, which is {rows} × {columns}", narrowest.name());
    vec![Finding::new(field("rank"), message, format!("write rank = {most} or less"))]
}

/// The adapter's product is scaled by alpha ÷ rank; at 0 it never speaks.
fn alpha_range(case: &Case) -> Vec<Finding> {
    match case.recipe.adapt {
        Some(Adapt::Lora { alpha: Some(alpha), rank, .. }) if !(alpha > 0.0 && alpha.is_finite()) => {
            let help = format!("write alpha = {}, or leave it out", rank.saturating_mul(2).max(1));
            vec![Finding::new(field("alpha"), format!("alpha {alpha} is not a positive number"), help)]
        }
        _ => vec![],
    }
}

/// Where every input is left out, nothing is learned.
fn dropout_range(case: &Case) -> Vec<Finding> {
    match case.recipe.adapt {
        Some(Adapt::Lora { dropout: Some(dropout), .. }) if !(0.0..1.0).contains(&dropout) => {
            let message = format!("a dropout of {} is out of [0%, 100%)", percent(dropout));
            vec![Finding::new(field("dropout"), message, "write dropout = 5%, or leave it out")]
        }
        _ => vec![],
    }
}

/// A LoRA without a projection is not one.
fn no_targets(case: &Case) -> Vec<Finding> {
    match &case.recipe.adapt {
        Some(Adapt::Lora { targets: Some(targets), .. }) if targets.is_empty() => {
            vec![Finding::new(
                field("targets"),
                "no projection is adapted".into(),
                "write targets = [q, k, v, o], or leave it out",
            )]
        }
        _ => vec![],
    }
}

/// One projection has one adapter.
fn duplicate_target(case: &Case) -> Vec<Finding> {
    let Some(Adapt::Lora { targets: Some(targets), .. }) = &case.recipe.adapt else {
        return vec![];
    };
    let repeated = (0..targets.len()).filter(|index| targets[..*index].contains(&targets[*index]));
    let finding = |index: usize| {
        let message = format!("{} is already adapted", targets[index].name());
        Finding::new(field("targets").index(index), message, "remove it")
    };
    repeated.map(finding).collect()
}

/// vLLM does not load an adapter that carries whole embeddings or norms (vllm #9280).
fn adapter_needs_merge(case: &Case) -> Vec<Finding> {
    let what = match case.recipe.adapt {
        Some(Adapt::Lora { embed: true, norm: true, .. }) => "the embedding and the norms",
        Some(Adapt::Lora { embed: true, .. }) => "the embedding",
        Some(Adapt::Lora { norm: true, .. }) => "the norms",
        _ => return vec![],
    };
    let message = format!("{what} learn in full, vLLM does not load such an adapter");
    vec![Finding::new(field("train"), message, "export the merged model")]
}

/// Adapters only matter where something learns.
fn adapter_without_training(case: &Case) -> Vec<Finding> {
    match case.recipe.adapt {
        Some(Adapt::Lora { .. }) if !case.plan.trains_weights() => {
            let message = "adapters are planned, but nothing trains them".to_owned();
            vec![Finding::new(Field::new("adapt"), message, "add `train: […]`, or remove `adapt:`")]
        }
        _ => vec![],
    }
}
