//! Many plans in one table, a row each.

use recipe_core::{AdaptPlan, Optimizer, Papers, Pattern, Plan, SourcePlan, StagePlan};

use super::stage_tokens;
use super::stages::{particulars, position_words};
use super::summary::{adapt, attention, context, rope_words};
use crate::report::number::{self, tokens};
use crate::report::table::{Align, Table};

/// What recipes change, what they read and what that takes; a recipe is called by its program.
pub fn plan_list<'a>(plans: impl IntoIterator<Item = (&'a str, &'a Plan)>) -> Table {
    let words = ["recipe", "context", "rope", "attention", "positions in training", "learns"];
    let numbers = ["longest sequence", "tokens read", "memory", "KV cache"];
    let columns = words.map(|name| (name, Align::Left)).into_iter().chain(numbers.map(|name| (name, Align::Right)));
    let mut table = Table::new(columns);
    for (program, plan) in plans {
        table.row(row(program, plan));
    }
    table
}

/// What a plan does to a model, a line each: all that decides its figures, and nothing that is computed from it. What a
/// recipe leaves at its usual value may be left out.
pub fn plan_words(plan: &Plan) -> Vec<String> {
    let mut lines = vec![
        format!("context {}", context(plan)),
        format!("rope {}", rope_words(&plan.rope)),
        format!("attention {}{}", attention(plan), placed(&plan.layers)),
        format!("learns {}; {}", learns(plan), adapt(&plan.adapt)),
    ];
    lines.extend((plan.optimizer == Optimizer::AdamW8bit).then(|| format!("optimizer {}", plan.optimizer.word())));
    lines.extend(plan.stages.iter().enumerate().map(|(index, stage)| stage_words(index + 1, stage)));
    lines.extend(particulars(plan).lines().map(|line| line.trim().to_owned()));
    lines
}

/// Which layers are full, where they do not stand in the middle.
fn placed(layers: &[Pattern]) -> String {
    let full: Vec<usize> = (0..layers.len()).filter(|&layer| layers[layer] == Pattern::Full).collect();
    let first = (layers.len() - full.len()) / 2;
    let middle = full.iter().enumerate().all(|(index, &layer)| layer == first + index);
    if middle { String::new() } else { format!(", full layers {full:?}") }
}

fn stage_words(number: usize, stage: &StagePlan) -> String {
    let StagePlan { steps, batch, length, lr, warmup, schedule, seed, .. } = stage;
    let data: Vec<String> = stage.data.iter().map(source_words).collect();
    let (beta1, beta2, decay, clip) = (stage.beta1, stage.beta2, stage.weight_decay, stage.clip);
    let usual = (beta1, beta2, decay, clip) == (0.9, 0.95, 0.0, 1.0);
    let clip = if clip < f64::MAX { format!("clip {clip}") } else { "no clip".to_owned() };
    let adamw =
        if usual { String::new() } else { format!(", betas {beta1} and {beta2}, weight decay {decay}, {clip}") };
    format!(
        "stage {number}: {steps} steps of {batch} × {length} tokens, lr {lr:e} after {warmup}, {schedule:?}, seed \
         {seed}{adamw}, of {}",
        data.join(" and ")
    )
}

fn source_words(source: &SourcePlan) -> String {
    let papers = if source.papers == Papers::USUAL { String::new() } else { format!(" ({:?})", source.papers) };
    format!("{:?}{papers} {}", source.kind, source.share)
}

fn row(program: &str, plan: &Plan) -> [String; 10] {
    let none = || "–".to_owned();
    let read: f64 = plan.stages.iter().map(|stage| stage_tokens(stage) as f64).sum();
    let longest = plan.stages.iter().map(|stage| stage.length).max();
    let skips = plan.stages.iter().find_map(|stage: &StagePlan| position_words(stage.positions));
    let contiguous = || if plan.stages.is_empty() { none() } else { "contiguous".to_owned() };
    [
        program.to_owned(),
        context(plan),
        rope_words(&plan.rope),
        attention(plan),
        skips.unwrap_or_else(contiguous),
        learns(plan),
        longest.map_or_else(none, tokens),
        if read > 0.0 { number::count(read) } else { none() },
        number::bytes(plan.memory().total),
        number::bytes(plan.kv_cache_bytes(plan.target)),
    ]
}

/// `qlora, rank 32, embedding, norms`.
fn learns(plan: &Plan) -> String {
    let weights = plan.trains_weights().then(|| adapts(&plan.adapt));
    let gates = plan.gates_stage().map(|_| "a gate for each key/value head".to_owned());
    let words: Vec<String> = weights.into_iter().chain(gates).collect();
    if words.is_empty() { "nothing".to_owned() } else { words.join(", then ") }
}

fn adapts(adapt: &AdaptPlan) -> String {
    let AdaptPlan::Lora { rank, embed, norm, quantized, .. } = adapt else {
        return "all weights".to_owned();
    };
    let kind = if *quantized { "qlora" } else { "lora" };
    let whole = [(*embed, ", embedding"), (*norm, ", norms")].map(|(learns, words)| if learns { words } else { "" });
    format!("{kind} of rank {rank}{}", whole.concat())
}
