//! The rule about numbers that no machine can hold.

use super::{Case, Finding, Level, Rule, model};
use crate::fault::Field;
use crate::pattern::Pattern;
use crate::recipe::{Adapt, Attention, FullLayers};
use crate::settle::MOST_LAYERS;

pub(super) const RULES: &[Rule] = &[Rule { name: "number_too_large", level: Level::Law, find: number_too_large }];

/// The widest matrix: 2²⁴ rows or columns.
const MOST_WIDTH: usize = 1 << 24;
/// Every pair of a head's dimensions has a frequency in a table.
pub(super) const MOST_HEAD_DIM: usize = 1 << 16;
/// Positions are 32-bit numbers.
const MOST_TOKENS: usize = u32::MAX as usize;
/// Sequences per step and steps per stage.
const MOST_STEPS: usize = u32::MAX as usize;

/// Beyond these limits a recipe is a slip of the keyboard, and below them no product of two numbers overflows.
fn number_too_large(case: &Case) -> Vec<Finding> {
    let mut numbers = model_numbers(case);
    numbers.extend(attention_numbers(case));
    numbers.extend(train_numbers(case));
    if let Some(Adapt::Lora { rank, .. }) = case.recipe.adapt {
        numbers.push((Field::new("adapt.rank"), rank, MOST_WIDTH));
    }
    let large = numbers.into_iter().filter(|(_, number, most)| number > most);
    let finding = |(field, number, most)| {
        Finding::new(field, format!("{number} is larger than any machine holds"), format!("write {most} or less"))
    };
    large.map(finding).collect()
}

fn model_numbers(case: &Case) -> Vec<(Field, usize, usize)> {
    let most = |key| match key {
        "layers" => MOST_LAYERS,
        "context" => MOST_TOKENS,
        "head_dim" => MOST_HEAD_DIM,
        _ => MOST_WIDTH,
    };
    let field = |key| Field::new("model").key(key);
    let sizes = model::sizes(&case.recipe.model);
    let mut numbers: Vec<_> = sizes.into_iter().map(|(key, size)| (field(key), size, most(key))).collect();
    numbers.push((Field::new("context.native"), case.recipe.context.native.unwrap_or(0), MOST_TOKENS));
    numbers.push((Field::new("context.target"), case.recipe.context.target, MOST_TOKENS));
    numbers
}

fn attention_numbers(case: &Case) -> Vec<(Field, usize, usize)> {
    let field = |key| Field::new("attention").key(key);
    let mut numbers = vec![(field("block"), case.plan.block, MOST_TOKENS)];
    for pattern in case.plan.layers.iter().filter(|pattern| **pattern != Pattern::Full).take(1) {
        let sizes: &[(&str, usize)] = match *pattern {
            Pattern::Window { window, sink } => &[("window", window), ("sink", sink)],
            Pattern::Strided { stride, local, .. } => &[("stride", stride), ("local", local)],
            Pattern::DualChunk { chunk, farthest } => &[("chunk", chunk), ("local", farthest)],
            Pattern::SelfExtend { group, window } => &[("group", group), ("window", window)],
            Pattern::Full | Pattern::ShiftedGroups { .. } | Pattern::Duo { .. } => &[],
        };
        numbers.extend(sizes.iter().map(|(key, size)| (field(key), *size, MOST_TOKENS)));
    }
    if let Some(Attention::Hybrid { full: FullLayers::Count(count), .. }) = case.recipe.attention {
        numbers.push((field("full"), count, MOST_LAYERS));
    }
    numbers
}

fn train_numbers(case: &Case) -> Vec<(Field, usize, usize)> {
    let stages = case.plan.stages.iter().zip(&case.recipe.train).enumerate();
    let each = |(index, (stage, written)): (usize, _)| {
        let (stage, written): (&crate::StagePlan, &crate::Stage) = (stage, written);
        let field = |key: &str| Field::new("train").index(index).key(key);
        let key = if written.tokens.is_some() { "tokens" } else { "steps" };
        [
            (field(key), stage.steps, MOST_STEPS),
            (field("length"), stage.length, MOST_TOKENS),
            (field("batch"), stage.batch, MOST_STEPS),
        ]
    };
    stages.flat_map(each).collect()
}
