//! Rules about a stage's own rope: `extend(…, theta = 5e6)`, `extend(…, scale = 8)`.

use super::rope::{RATIO_TOLERANCE, frequency_fault, scale, tidy};
use super::train::{Verdict, each};
use super::{Case, Finding, Level, Rule};
use crate::plan::{PositionsPlan, StagePlan};
use crate::readable::readable_tokens as tokens;
use crate::recipe::{Rope, Stage};

pub(super) const RULES: &[Rule] = &[
    Rule { name: "stage_theta_range", level: Level::Law, find: stage_theta_range },
    Rule { name: "stage_scale_range", level: Level::Law, find: stage_scale_range },
    Rule { name: "stage_scale_unused", level: Level::Law, find: stage_scale_unused },
    Rule { name: "stage_frequencies", level: Level::Law, find: stage_frequencies },
    Rule { name: "stage_scale_below_length", level: Level::Guard, find: stage_scale_below_length },
    Rule { name: "last_stage_rope", level: Level::Guard, find: last_stage_rope },
];

fn law(case: &Case) -> Rope {
    case.recipe.rope.clone().unwrap_or(Rope::None)
}

/// A base of 1 or less gives frequencies that do not fall.
fn stage_theta_range(case: &Case) -> Vec<Finding> {
    each(case, |written, _| {
        let theta = written.theta.filter(|theta| !(*theta > 1.0 && theta.is_finite()))?;
        let help = format!("write a base above the model's {}, or leave theta out", case.recipe.model.rope_theta);
        Some(("theta", format!("theta {theta} is not above 1"), help))
    })
}

/// A scale stretches positions; below 1 it would squeeze them together.
fn stage_scale_range(case: &Case) -> Vec<Finding> {
    each(case, |written, settled| {
        let scale = written.scale.filter(|scale| !(*scale >= 1.0 && scale.is_finite()))?;
        let needed = tidy((settled.reach as f64 / case.plan.model.context.max(1) as f64).max(1.0));
        Some(("scale", format!("scale {scale} is below 1 or not a number"), format!("write scale = {needed}")))
    })
}

/// A scale needs a law that has one, and says the only thing about it.
fn stage_scale_unused(case: &Case) -> Vec<Finding> {
    each(case, |written, settled| {
        let stage = written.scale?;
        let message = match (law(case), settled.positions) {
            (_, PositionsPlan::E2 { .. }) => "e2 draws its own scale for every step".to_owned(),
            (Rope::None, _) => format!("`rope: none` has no scale to change to {stage}"),
            (Rope::Theta { .. }, _) => format!("`rope: theta(…)` has no scale to change to {stage}"),
            (Rope::LongRope(_), _) => format!("`rope: longrope(…)` has a factor for each pair, not the scale {stage}"),
            (Rope::Ntk { .. }, _) if written.theta.is_some() => {
                format!("scale {stage} and theta both say ntk's base")
            }
            _ => return None,
        };
        Some(("scale", message, "leave scale out, or write theta = … instead".to_owned()))
    })
}

/// Legal numbers may still multiply to a frequency of 0 or infinity.
fn stage_frequencies(case: &Case) -> Vec<Finding> {
    each(case, |written, settled| {
        let key = own_key(written)?;
        let f = frequency_fault(case, &settled.rope, settled.reach)?;
        Some((key, format!("this law gives a frequency of {f}"), "write smaller numbers".to_owned()))
    })
}

/// `interpolate` and `yarn` divide angles by their scale: a stage whose positions go further meets angles that the model
/// has never seen (arXiv 2306.15595).
fn stage_scale_below_length(case: &Case) -> Vec<Finding> {
    each(case, |written, settled| {
        let stage = written.scale.filter(|scale| *scale >= 1.0 && scale.is_finite())?;
        let divides = matches!(law(case), Rope::Interpolate { .. } | Rope::Yarn { .. });
        let needed = settled.reach as f64 / case.plan.model.context.max(1) as f64;
        let short = divides && stage < needed * (1.0 - RATIO_TOLERANCE) && settled.reach <= case.plan.target;
        let (native, reach) = (tokens(case.plan.model.context), tokens(settled.reach));
        let message = format!("scale {stage} does not take {native} to this stage's {reach}");
        short.then(|| ("scale", message, format!("write scale = {}", tidy(needed))))
    })
}

/// The finished model runs under the recipe's rope, so the last weights must have learned under it.
fn last_stage_rope(case: &Case) -> Vec<Finding> {
    let last = case.plan.stages.len();
    let mut number = 0;
    each(case, |written, settled| {
        number += 1;
        (number == last && settled.rope != case.plan.rope).then(|| other_rope(case, written, settled)).flatten()
    })
}

fn other_rope(case: &Case, written: &Stage, settled: &StagePlan) -> Verdict {
    let key = own_key(written)?;
    let (message, help) = match (scale(law(case)), written.scale, law(case)) {
        (Some((word, recipe)), Some(stage), _) => (
            format!("the last stage trains at scale {stage}, the finished model runs at {recipe}"),
            format!("write rope: {word}({stage}), or leave scale out"),
        ),
        (_, _, Rope::None | Rope::Theta { .. }) => (
            format!(
                "the last stage trains at theta {}, the finished model runs at {}",
                settled.rope.theta, case.plan.rope.theta
            ),
            format!("write rope: theta({}), or leave theta out", settled.rope.theta),
        ),
        _ => (
            format!(
                "the last stage trains at theta {}, the finished model runs at {}",
                settled.rope.theta, case.plan.rope.theta
            ),
            "leave theta out of the last stage".to_owned(),
        ),
    };
    Some((key, message, help))
}

/// The key under which a stage says its own law.
fn own_key(written: &Stage) -> Option<&'static str> {
    match (written.scale, written.theta) {
        (Some(_), _) => Some("scale"),
        (None, Some(_)) => Some("theta"),
        (None, None) => None,
    }
}
