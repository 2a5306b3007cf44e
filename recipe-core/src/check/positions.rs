//! Rules about `positions:`.

use super::{Case, Finding, Level, Rule};
use crate::fault::Field;
use crate::plan::{PositionsPlan, StagePlan};
use crate::readable::readable_tokens as tokens;
use crate::recipe::{Positions, Rope};
use crate::scaling::Scaling;
use crate::terms::Form;

pub(super) const RULES: &[Rule] = &[
    Rule { name: "keep_range", level: Level::Law, find: keep_range },
    Rule { name: "chunks_range", level: Level::Law, find: chunks_range },
    Rule { name: "pose_code_chunks", level: Level::Law, find: pose_code_chunks },
    Rule { name: "sigma_range", level: Level::Law, find: sigma_range },
    Rule { name: "scale_max_range", level: Level::Law, find: scale_max_range },
    Rule { name: "positions_without_training", level: Level::Guard, find: positions_without_training },
    Rule { name: "positions_without_gaps", level: Level::Advice, find: positions_without_gaps },
    Rule { name: "skip_with_dynamic_ntk", level: Level::Guard, find: skip_with_dynamic_ntk },
    Rule { name: "e2_needs_interpolation", level: Level::Law, find: e2_needs_interpolation },
    Rule { name: "e2_below_target", level: Level::Guard, find: e2_below_target },
];

fn field(key: &str) -> Field {
    Field::new("positions").key(key)
}

fn one(field: Field, message: impl Into<String>, help: impl Into<String>) -> Vec<Finding> {
    vec![Finding::new(field, message.into(), help)]
}

/// LongRecipe trains on a share of the target; all of it would be contiguous.
fn keep_range(case: &Case) -> Vec<Finding> {
    match case.recipe.positions {
        Some(Positions::LongRecipe { keep: Some(keep) }) if !(keep > 0.0 && keep <= 1.0) => {
            one(field("keep"), format!("keep {keep} is out of (0, 1]"), "write keep = 30%")
        }
        _ => vec![],
    }
}

/// One chunk is contiguous; more chunks than tokens have no text.
fn chunks_range(case: &Case) -> Vec<Finding> {
    let shortest = case.plan.stages.iter().map(|stage| stage.length).min().unwrap_or(usize::MAX);
    match case.recipe.positions {
        Some(Positions::Pose { chunks: Some(chunks), .. }) if chunks < 2 || chunks > shortest => {
            let message = format!("chunks {chunks} is out of 2 to the sequence's length");
            one(field("chunks"), message, "write chunks = 2")
        }
        _ => vec![],
    }
}

/// The released program knows two chunks.
fn pose_code_chunks(case: &Case) -> Vec<Finding> {
    match case.recipe.positions {
        Some(Positions::Pose { chunks: Some(chunks), form: Some(Form::Code) }) if chunks > 2 => {
            let message = format!("form = code has two chunks, not {chunks}");
            one(field("chunks"), message, "write form = paper, or chunks = 2")
        }
        _ => vec![],
    }
}

/// The middle piece is drawn from a normal distribution of this width.
fn sigma_range(case: &Case) -> Vec<Finding> {
    match case.recipe.positions {
        Some(Positions::Cream { sigma: Some(sigma) }) if !(sigma > 0.0 && sigma.is_finite()) => {
            one(field("sigma"), format!("sigma {sigma} is not a positive number"), "write sigma = 3")
        }
        _ => vec![],
    }
}

/// Scales are drawn from 1 to this.
fn scale_max_range(case: &Case) -> Vec<Finding> {
    match case.recipe.positions {
        Some(Positions::E2 { scale_max: Some(most @ (0 | 1_000_001..)) }) => {
            one(field("scale_max"), format!("scale_max {most} is out of 1 to 1000000"), "write scale_max = 20")
        }
        _ => vec![],
    }
}

/// Positions are drawn for training; inference is contiguous.
fn positions_without_training(case: &Case) -> Vec<Finding> {
    match case.recipe.positions {
        Some(Positions::Contiguous) | None => vec![],
        // The stage of gates reads contiguous positions.
        Some(_) if case.plan.trains_weights() => vec![],
        Some(_) => {
            one(Field::new("positions"), "nothing is trained, so no position is ever drawn", "add a `train:` stage")
        }
    }
}

/// A sequence as long as the target has no room for gaps.
fn positions_without_gaps(case: &Case) -> Vec<Finding> {
    let skips = |stage: &StagePlan| stage.positions != PositionsPlan::Contiguous;
    match case.plan.stages.iter().position(|stage| skips(stage) && stage.length >= stage.reach) {
        Some(index) => {
            let length = tokens(case.plan.stages[index].length);
            let message = format!("stage {} is as long as the target, {length}: its positions have no gaps", index + 1);
            one(Field::new("positions"), message, "leave its length out")
        }
        None => vec![],
    }
}

/// Hugging Face takes the length from the largest position, so the base would change with every draw.
fn skip_with_dynamic_ntk(case: &Case) -> Vec<Finding> {
    match (case.recipe.positions, &case.recipe.rope) {
        (None | Some(Positions::Contiguous), _) => vec![],
        (Some(_), Some(Rope::DynamicNtk { scale })) => {
            let message = "dynamic_ntk follows the largest position, which every draw changes";
            one(Field::new("positions"), message, format!("write rope: ntk({scale}), or positions: contiguous"))
        }
        _ => vec![],
    }
}

/// E2-LLM divides positions by a scale, in training by a random one, at inference by target ÷ native.
fn e2_needs_interpolation(case: &Case) -> Vec<Finding> {
    match case.recipe.positions {
        Some(Positions::E2 { .. }) if !matches!(case.plan.rope.scaling, Scaling::Linear { .. }) => {
            let ratio = case.plan.target.div_ceil(case.plan.model.context.max(1));
            one(
                Field::new("positions"),
                "e2 trains scales, which only interpolate uses",
                format!("write rope: interpolate({ratio})"),
            )
        }
        _ => vec![],
    }
}

/// Scales beyond those that were trained are a guess.
fn e2_below_target(case: &Case) -> Vec<Finding> {
    let (native, target) = (case.plan.model.context, case.plan.target);
    match case.recipe.positions {
        Some(Positions::E2 { scale_max }) => {
            let most = scale_max.unwrap_or(crate::settle::SCALE_MAX);
            let needed = target.div_ceil(native.max(1));
            if most >= needed {
                return vec![];
            }
            let message = format!("scale_max {most} does not take {} to {}", tokens(native), tokens(target));
            one(field("scale_max"), message, format!("write scale_max = {needed}"))
        }
        _ => vec![],
    }
}
