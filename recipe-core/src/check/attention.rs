//! Rules about `attention:`.

use super::{Case, Finding, Level, Rule};
use crate::fault::Field;
use crate::pattern::Pattern;
use crate::plan::Plan;
use crate::readable::readable_tokens as tokens;
use crate::recipe::{Attention, FullLayers, Sparse, Window};

pub(super) const RULES: &[Rule] = &[
    Rule { name: "zero_block", level: Level::Law, find: zero_block },
    Rule { name: "zero_window", level: Level::Law, find: zero_window },
    Rule { name: "window_not_in_blocks", level: Level::Guard, find: window_not_in_blocks },
    Rule { name: "window_longer_than_target", level: Level::Guard, find: window_longer_than_target },
    Rule { name: "window_covers_target", level: Level::Advice, find: window_covers_target },
    Rule { name: "sink_not_below_window", level: Level::Guard, find: sink_not_below_window },
    Rule { name: "window_reach", level: Level::Advice, find: window_reach },
    Rule { name: "released_window", level: Level::Advice, find: released_window },
    Rule { name: "full_share_range", level: Level::Law, find: full_share_range },
    Rule { name: "too_many_full_layers", level: Level::Law, find: too_many_full_layers },
    Rule { name: "no_full_layers", level: Level::Law, find: no_full_layers },
    Rule { name: "few_full_layers", level: Level::Advice, find: few_full_layers },
];

fn field(key: &str) -> Field {
    Field::new("attention").key(key)
}

fn window(case: &Case) -> Option<Window> {
    match *case.recipe.attention.as_ref()? {
        Attention::Sparse(Sparse::Window(window)) | Attention::Hybrid { sparse: Sparse::Window(window), .. } => {
            Some(window)
        }
        _ => None,
    }
}

fn full_layers(case: &Case) -> Option<FullLayers> {
    match *case.recipe.attention.as_ref()? {
        Attention::Hybrid { full, .. } => Some(full),
        _ => None,
    }
}

/// The multiple of `block` nearest to `window`, at least one block and, where a block fits, at most `target`.
fn nearest_window(window: usize, block: usize, target: usize) -> usize {
    let most = (target / block).max(1);
    let blocks = (window / block).saturating_add(usize::from(window % block >= block.div_ceil(2)));
    blocks.clamp(1, most).saturating_mul(block)
}

/// Kernels walk keys in blocks.
fn zero_block(case: &Case) -> Vec<Finding> {
    if case.plan.block > 0 {
        return vec![];
    }
    vec![Finding::new(field("block"), "a block of 0 tokens".into(), "write block = 64, or leave it out")]
}

/// The window counts the token itself, so 1 is the least.
fn zero_window(case: &Case) -> Vec<Finding> {
    match window(case) {
        Some(Window { window: 0, .. }) => {
            let help = format!("write window = {}", case.plan.block.max(1));
            vec![Finding::new(field("window"), "a window of 0 tokens sees nothing".into(), help)]
        }
        _ => vec![],
    }
}

/// Kernels skip invisible keys by whole blocks; a ragged window pays for the block that it cuts.
fn window_not_in_blocks(case: &Case) -> Vec<Finding> {
    let block = case.plan.block;
    match window(case) {
        Some(Window { window, .. }) if window > 0 && block > 0 && window % block != 0 => {
            let message = format!("window {window} is not a multiple of the block of {block} tokens");
            let help = format!("write window = {}", nearest_window(window, block, case.plan.target));
            vec![Finding::new(field("window"), message, help)]
        }
        _ => vec![],
    }
}

/// No sequence is longer than the target, so the rest of such a window is never used.
fn window_longer_than_target(case: &Case) -> Vec<Finding> {
    let target = case.plan.target;
    match window(case) {
        Some(Window { window, .. }) if window > target && case.plan.block > 0 => {
            let message = format!("window {window} is longer than target {}", tokens(target));
            let help =
                format!("write window = {}, or `attention: full`", nearest_window(target, case.plan.block, target));
            vec![Finding::new(field("window"), message, help)]
        }
        _ => vec![],
    }
}

/// A window as long as the target hides nothing.
fn window_covers_target(case: &Case) -> Vec<Finding> {
    match window(case) {
        Some(Window { window, .. }) if window == case.plan.target => {
            let message = format!("window {window} is the whole target, every layer sees everything");
            vec![Finding::new(field("window"), message, "`attention: full` says the same")]
        }
        _ => vec![],
    }
}

/// Sinks are a few tokens kept beside the window (StreamingLLM, arXiv 2309.17453); as many as the window, they are a
/// slip between the two numbers.
fn sink_not_below_window(case: &Case) -> Vec<Finding> {
    match window(case) {
        Some(Window { window, sink: Some(sink), .. }) if sink >= window && window > 0 => {
            let message = format!("window {window} is not longer than sink {sink}");
            let help = format!("write sink = {}, or a longer window", 4.min(window - 1));
            vec![Finding::new(field("sink"), message, help)]
        }
        _ => vec![],
    }
}

/// With a window in every layer, a layer hands information on by window − 1 tokens; what is older cannot arrive.
fn window_reach(case: &Case) -> Vec<Finding> {
    let Plan { target, model, .. } = case.plan;
    match case.recipe.attention {
        Some(Attention::Sparse(Sparse::Window(Window { window, .. }))) if window > 0 => {
            let reach = (window - 1).saturating_mul(model.layers).saturating_add(1);
            if reach >= *target {
                return vec![];
            }
            let message = format!(
                "{} layers of window {window} see {reach} tokens back at most, target is {}",
                model.layers,
                tokens(*target)
            );
            vec![Finding::new(field("window"), message, "hybrid(full = 1/3, …) keeps some layers full")]
        }
        _ => vec![],
    }
}

/// A model released with a sliding window keeps it until the recipe says otherwise.
fn released_window(case: &Case) -> Vec<Finding> {
    let (window, target) = (case.plan.model.window, case.plan.target);
    if case.recipe.attention.is_some() || window == 0 || window >= target {
        return vec![];
    }
    let message = format!("every layer sees {window} tokens, as the model was released; target is {}", tokens(target));
    let help = "`attention: full` lets them see everything";
    vec![Finding::new(Field::new("model"), message, help)]
}

/// A share of all layers.
fn full_share_range(case: &Case) -> Vec<Finding> {
    match full_layers(case) {
        Some(FullLayers::Share(share)) if !(share > 0.0 && share <= 1.0) => {
            let message = format!("full share {share} is out of (0, 1]");
            vec![Finding::new(field("full"), message, "write full = 1/3, or a number of layers")]
        }
        _ => vec![],
    }
}

/// There are no more layers than the model has.
fn too_many_full_layers(case: &Case) -> Vec<Finding> {
    let layers = case.recipe.model.layers;
    match full_layers(case) {
        Some(FullLayers::Count(count)) if count > layers => {
            let message = format!("{count} full layers, the model has {layers}");
            vec![Finding::new(field("full"), message, format!("write full = {} or less", layers))]
        }
        _ => vec![],
    }
}

/// A hybrid without full layers is a window, and is written so.
fn no_full_layers(case: &Case) -> Vec<Finding> {
    match full_layers(case) {
        Some(FullLayers::Count(0)) => {
            let message = "a hybrid without a full layer".to_owned();
            vec![Finding::new(field("full"), message, "write `attention: window(…)`, or full = 1/3")]
        }
        _ => vec![],
    }
}

/// LongGen's ablation: 1/16 of the layers collapses, 1/5 is usable, 1/3 is chosen (arXiv 2410.01485).
fn few_full_layers(case: &Case) -> Vec<Finding> {
    let layers = case.plan.layers.len();
    let full = case.plan.layers.iter().filter(|pattern| **pattern == Pattern::Full).count();
    let hybrid = matches!(full_layers(case), Some(FullLayers::Count(1..) | FullLayers::Share(_)));
    if !hybrid || full.saturating_mul(5) >= layers {
        return vec![];
    }
    let message = format!("{full} of {layers} layers are full, below 1/5 long-range recall collapses");
    vec![Finding::new(field("full"), message, "full = 1/3 is the published choice")]
}
