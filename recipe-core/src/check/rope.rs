//! Rules about `rope:`.

use super::size::MOST_HEAD_DIM;
use super::{Case, Finding, Level, Rule};
use crate::fault::Field;
use crate::plan::RopePlan;
use crate::readable::readable_tokens as tokens;
use crate::recipe::{LongRopeFactors, Rope};
use crate::scaling::Scaling;

pub(super) const RULES: &[Rule] = &[
    Rule { name: "rope_scale_range", level: Level::Law, find: rope_scale_range },
    Rule { name: "rope_theta_range", level: Level::Law, find: rope_theta_range },
    Rule { name: "rope_frequencies", level: Level::Law, find: rope_frequencies },
    Rule { name: "scale_below_target", level: Level::Guard, find: scale_below_target },
    Rule { name: "scale_above_target", level: Level::Advice, find: scale_above_target },
    Rule { name: "ntk_scale_short", level: Level::Advice, find: ntk_scale_short },
    Rule { name: "llama3_scale_short", level: Level::Advice, find: llama3_scale_short },
    Rule { name: "theta_lowered", level: Level::Advice, find: theta_lowered },
    Rule { name: "yarn_betas", level: Level::Law, find: yarn_betas },
    Rule { name: "attention_factor_range", level: Level::Law, find: attention_factor_range },
    Rule { name: "llama3_factors", level: Level::Law, find: llama3_factors },
    Rule { name: "longrope_factors", level: Level::Law, find: longrope_factors },
    Rule { name: "longrope_falls", level: Level::Advice, find: longrope_falls },
    Rule { name: "rope_unchanged", level: Level::Advice, find: rope_unchanged },
    Rule { name: "native_scaling_replaced", level: Level::Advice, find: native_scaling_replaced },
    Rule { name: "dynamic_ntk_training", level: Level::Advice, find: dynamic_ntk_training },
];

/// Ratios that differ by less than this are equal: a person writes 2.93 for 12000 ÷ 4096.
pub(super) const RATIO_TOLERANCE: f64 = 1e-3;

fn field(key: &str) -> Field {
    Field::new("rope").key(key)
}

fn written(case: &Case) -> Rope {
    case.recipe.rope.clone().unwrap_or(Rope::None)
}

/// The word and the scale of a law that has one.
pub(super) fn scale(rope: Rope) -> Option<(&'static str, f64)> {
    match rope {
        Rope::None | Rope::Theta { .. } | Rope::LongRope(_) => None,
        Rope::Interpolate { scale } => Some(("interpolate", scale)),
        Rope::Ntk { scale } => Some(("ntk", scale)),
        Rope::DynamicNtk { scale } => Some(("dynamic_ntk", scale)),
        Rope::Yarn { scale, .. } => Some(("yarn", scale)),
        Rope::Llama3 { scale, .. } => Some(("llama3", scale)),
    }
}

/// A scale that can be compared: its word, itself, and target ÷ native.
fn comparable(case: &Case) -> Option<(&'static str, f64, f64)> {
    let (word, scale) = scale(written(case)).filter(|(_, scale)| *scale >= 1.0 && scale.is_finite())?;
    let (native, target) = (case.plan.model.context, case.plan.target);
    (native > 0 && target > 0).then(|| (word, scale, target as f64 / native as f64))
}

/// A ratio as a person writes it: 32, or 2.93 rounded up so that it suffices.
pub(super) fn tidy(ratio: f64) -> f64 {
    if ratio == ratio.round() { ratio } else { (ratio * 100.0).ceil() / 100.0 }
}

/// A scale stretches positions; below 1 it would squeeze them together, and a scale that is no number is a slip.
fn rope_scale_range(case: &Case) -> Vec<Finding> {
    match scale(written(case)) {
        Some((word, scale)) if !(scale >= 1.0 && scale.is_finite()) => {
            let ratio = case.plan.target as f64 / case.plan.model.context.max(1) as f64;
            let message = format!("scale {scale} is below 1 or not a number");
            vec![Finding::new(field("scale"), message, format!("write {word}({})", tidy(ratio.max(1.0))))]
        }
        _ => vec![],
    }
}

/// The settled base must be a number above 1, or the frequencies do not fall.
fn rope_theta_range(case: &Case) -> Vec<Finding> {
    let theta = case.plan.rope.theta;
    if theta > 1.0 && theta.is_finite() {
        return vec![];
    }
    match written(case) {
        Rope::Theta { .. } => {
            let message = format!("theta {theta} is not above 1");
            let help = format!("write a base above the model's {}", case.recipe.model.rope_theta);
            vec![Finding::new(field("theta"), message, help)]
        }
        Rope::Ntk { scale } if scale >= 1.0 && scale.is_finite() => {
            let message = format!("ntk({scale}) gives a base of {theta}");
            vec![Finding::new(field("scale"), message, "write a smaller scale, on heads of at least 4 dimensions")]
        }
        _ => vec![],
    }
}

/// Legal numbers may still multiply to a frequency of 0 or infinity.
fn rope_frequencies(case: &Case) -> Vec<Finding> {
    match frequency_fault(case, &case.plan.rope, case.plan.target) {
        Some(f) => vec![Finding::new(
            Field::new("rope"),
            format!("this law gives a frequency of {f}"),
            "write smaller numbers",
        )],
        None => vec![],
    }
}

/// A frequency that is not a positive number, of a law whose own numbers are in range.
pub(super) fn frequency_fault(case: &Case, rope: &RopePlan, length: usize) -> Option<f64> {
    let judged_elsewhere =
        !rope.theta.is_finite() || rope.scaling_factor().is_some_and(|factor| !(factor >= 1.0 && factor.is_finite()));
    if judged_elsewhere || rope.head_dim > MOST_HEAD_DIM || !longrope_factors(case).is_empty() {
        return None;
    }
    rope.inv_freq(length).into_iter().find(|f| !(*f > 0.0 && f.is_finite()))
}

/// `interpolate` and `yarn` divide angles by their scale: below target ÷ native the last positions turn further than
/// the model has ever seen (arXiv 2306.15595), which is what these laws exist to prevent.
fn scale_below_target(case: &Case) -> Vec<Finding> {
    match comparable(case) {
        Some((word @ ("interpolate" | "yarn"), scale, ratio)) if scale < ratio * (1.0 - RATIO_TOLERANCE) => {
            let (native, target) = (tokens(case.plan.model.context), tokens(case.plan.target));
            let message =
                format!("scale {scale} does not take {native} to {target}, which is a factor of {}", tidy(ratio));
            vec![Finding::new(field("scale"), message, format!("write {word}({})", tidy(ratio)))]
        }
        _ => vec![],
    }
}

/// More interpolation than needed costs short-range resolution (methods of arXiv 2306.15595 lose with the scale).
fn scale_above_target(case: &Case) -> Vec<Finding> {
    match comparable(case) {
        Some((word @ ("interpolate" | "yarn"), scale, ratio)) if scale > ratio.max(1.0) * (1.0 + RATIO_TOLERANCE) => {
            let message = format!("scale {scale} is larger than target ÷ native, {}", tidy(ratio));
            let help = format!("{word}({}) keeps more of the short-range ability", tidy(ratio.max(1.0)));
            vec![Finding::new(field("scale"), message, help)]
        }
        _ => vec![],
    }
}

/// A static NTK base divides only the lowest frequency by the whole scale; the middle ones leave the trained range
/// before the target is reached, so published recipes choose a scale well above target ÷ native.
fn ntk_scale_short(case: &Case) -> Vec<Finding> {
    match comparable(case) {
        Some(("ntk", scale, ratio)) if ratio > 1.0 && scale <= ratio => {
            let message =
                format!("ntk({scale}) reaches less than {scale} times the native context, {} is wanted", tidy(ratio));
            vec![Finding::new(field("scale"), message, format!("ntk({}) leaves a margin", tidy(2.0 * ratio)))]
        }
        _ => vec![],
    }
}

/// Llama 3.1 itself was released with 8 for a factor of 16, after long training; untrained it falls short.
fn llama3_scale_short(case: &Case) -> Vec<Finding> {
    match comparable(case) {
        Some(("llama3", scale, ratio)) if scale < ratio * (1.0 - RATIO_TOLERANCE) => {
            let message = format!("llama3({scale}) is below target ÷ native, {}", tidy(ratio));
            vec![Finding::new(field("scale"), message, format!("llama3({}) covers it without training", tidy(ratio)))]
        }
        _ => vec![],
    }
}

/// A lower base makes every angle larger: the opposite of an extension.
fn theta_lowered(case: &Case) -> Vec<Finding> {
    let native = case.recipe.model.rope_theta;
    match written(case) {
        Rope::Theta { theta } if theta > 1.0 && theta < native => {
            let message = format!("theta {theta} is below the model's own {native}");
            vec![Finding::new(field("theta"), message, "a longer context needs a larger base")]
        }
        _ => vec![],
    }
}

/// YaRN blends between `beta_slow` and `beta_fast` rotations; the range must have a width.
fn yarn_betas(case: &Case) -> Vec<Finding> {
    match case.plan.rope.scaling {
        Scaling::Yarn { beta_fast: fast, beta_slow: slow, .. } => {
            if slow > 0.0 && fast > slow && fast.is_finite() {
                return vec![];
            }
            let message = format!("beta_fast {fast} is not above beta_slow {slow}, or one is not positive");
            vec![Finding::new(field("beta_fast"), message, "write beta_fast = 32, beta_slow = 1")]
        }
        _ => vec![],
    }
}

/// The attention factor multiplies cos and sin.
fn attention_factor_range(case: &Case) -> Vec<Finding> {
    match case.plan.rope.scaling {
        Scaling::Yarn { attention_factor: factor, .. } | Scaling::LongRope { attention_factor: factor, .. }
            if !(factor > 0.0 && factor.is_finite()) =>
        {
            // An infinite scale has its own fault.
            if case.plan.rope.scaling_factor().is_none_or(f64::is_finite) {
                let message = format!("attention_factor {factor} is not a positive number");
                return vec![Finding::new(field("attention_factor"), message, "leave it out for 0.1 ln(scale) + 1")];
            }
            vec![]
        }
        _ => vec![],
    }
}

/// Llama 3.1's law blends waves between original ÷ high and original ÷ low tokens.
fn llama3_factors(case: &Case) -> Vec<Finding> {
    match case.plan.rope.scaling {
        Scaling::Llama3 { low, high, .. } if !(low > 0.0 && high > low && high.is_finite()) => {
            let message = format!("high {high} is not above low {low}, or one is not positive");
            vec![Finding::new(field("high"), message, "write low = 1, high = 4")]
        }
        _ => vec![],
    }
}

/// The two lists of LongRoPE, each under its argument.
fn lists(case: &Case) -> Vec<(&'static str, Vec<f64>)> {
    match written(case) {
        Rope::LongRope(LongRopeFactors { short, long, .. }) => vec![("short", short), ("long", long)],
        _ => vec![],
    }
}

/// Each pair of a head has a factor, and a frequency is divided by it.
fn longrope_factors(case: &Case) -> Vec<Finding> {
    let pairs = case.recipe.model.head_dim / 2;
    let judge = |(key, factors): (&'static str, Vec<f64>)| {
        if factors.len() != pairs {
            let count = if factors.len() == 1 { "1 factor".to_owned() } else { format!("{} factors", factors.len()) };
            let message = format!("{count}, heads of {} have {pairs} pairs", 2 * pairs);
            return Some(Finding::new(
                field(key),
                message,
                format!("write {pairs} numbers, or let `search` find them"),
            ));
        }
        let wrong = factors.iter().find(|factor| !(**factor > 0.0 && factor.is_finite()))?;
        Some(Finding::new(field(key), format!("factor {wrong} is not a positive number"), "factors are 1 or more"))
    };
    lists(case).into_iter().filter_map(judge).collect()
}

/// Long waves are what a longer text lacks, so published factors never fall from pair to pair.
fn longrope_falls(case: &Case) -> Vec<Finding> {
    let falls = |(key, factors): (&'static str, Vec<f64>)| {
        let pair = factors.windows(2).position(|pair| pair[1] < pair[0])?;
        let message =
            format!("{key} factors fall from {} to {} at pair {}", factors[pair], factors[pair + 1], pair + 1);
        Some(Finding::new(field(key), message, "a later pair, a longer wave, is stretched at least as much"))
    };
    lists(case).into_iter().filter_map(falls).collect()
}

/// An untouched rope beyond the native window is the baseline that every recipe is compared with, and collapses, unless
/// attention brings all distances back into the window.
fn rope_unchanged(case: &Case) -> Vec<Finding> {
    let (native, target) = (case.plan.model.context, case.plan.target);
    let remapped = case.plan.layers.first().is_some_and(|pattern| pattern.remaps());
    if written(case) != Rope::None || target <= native || remapped {
        return vec![];
    }
    let message =
        format!("rope is unchanged, positions from {} to {} were never trained", tokens(native), tokens(target));
    let help = format!("interpolate({}) is the plain cure", tidy(target as f64 / native.max(1) as f64));
    vec![Finding::new(Field::new("rope"), message, help)]
}

/// A rope word starts again from the model's theta; what the model was released with is gone.
fn native_scaling_replaced(case: &Case) -> Vec<Finding> {
    let native = &case.recipe.model.rope_scaling;
    if written(case) == Rope::None || *native == Scaling::Default {
        return vec![];
    }
    let message = format!("this law replaces the {} scaling that the model was released with", native.rope_type());
    vec![Finding::new(Field::new("rope"), message, "`rope: none` keeps it")]
}

/// The base follows the length at hand, so stages and batches of different lengths see different frequencies, and cached
/// keys were turned by older ones (transformers #25104).
fn dynamic_ntk_training(case: &Case) -> Vec<Finding> {
    match written(case) {
        Rope::DynamicNtk { .. } if !case.plan.stages.is_empty() => {
            let message = "dynamic_ntk changes the frequencies with every sequence length while it trains".to_owned();
            vec![Finding::new(Field::new("rope"), message, "ntk(…) or theta(…) keep one law for all lengths")]
        }
        _ => vec![],
    }
}
