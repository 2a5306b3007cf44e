//! A plan for people ([`plan_text`]) and for programs ([`plan_json`]).

mod json;
mod layer_map;
mod list;
mod page;
mod stages;
mod summary;
mod work;

use recipe_core::{
    Device, EvalPlan, Learns, Loss, Optimizer, Papers, Plan, Schedule, SourceKind, SourcePlan, StagePlan,
};

use super::number;
use super::table::{Align, Table};
pub use json::plan_json;
pub use list::{plan_list, plan_words};
use page::Page;
pub(super) use page::wrapped;
pub(crate) use stages::merge_words;
pub(crate) use summary::rope_words;
pub(super) use summary::{attention, summary};
pub use work::Rate;

/// What `plan` prints. Times follow from the rates that [`Rate::assumed`] names.
pub fn plan_text(plan: &Plan) -> String {
    plan_text_at(plan, &Rate::assumed(plan.device))
}

/// [`plan_text`] with the times that `rates` give; without a rate there is no time.
pub fn plan_text_at(plan: &Plan, rates: &[Rate]) -> String {
    let mut page = Page::new(&plan.name);
    for (label, text) in summary(plan) {
        page.line(label, &text);
    }
    page.block("layers", &layer_map::layer_map(&plan.layers));
    page.block("training", &training(plan));
    page.block("data", &data(plan));
    page.block("memory", &memory(plan));
    page.block("KV cache", &kv_cache(plan));
    page.block("FLOPs", &work::work(plan, rates));
    page.block("evaluation", &evaluation(plan));
    page.block("notes", &notes(plan));
    page.finish()
}

pub(super) fn training(plan: &Plan) -> String {
    if plan.stages.is_empty() {
        return "none: the model is only read\n".to_owned();
    }
    let columns =
        ["stage", "steps", "length", "batch", "tokens", "peak lr", "warm-up"].map(|name| (name, Align::Right));
    let words = ["schedule", "recompute"].map(|name| (name, Align::Left));
    let mut table = Table::new(columns.into_iter().chain(words));
    for (index, stage) in plan.stages.iter().enumerate() {
        table.row(stage_row(index, stage));
    }
    if plan.stages.len() > 1 {
        let steps: f64 = plan.stages.iter().map(|stage| stage.steps as f64).sum();
        let tokens: f64 = plan.stages.iter().map(|stage| stage_tokens(stage) as f64).sum();
        table.rule();
        table.row(["all".to_owned(), number::plain(steps), String::new(), String::new(), number::count(tokens)]);
    }
    table.to_text() + &stages::particulars(plan) + &wrapped(&optimizers(plan))
}

fn stage_row(index: usize, stage: &StagePlan) -> [String; 9] {
    [
        (index + 1).to_string(),
        stage.steps.to_string(),
        number::tokens(stage.length),
        stage.batch.to_string(),
        number::count(stage_tokens(stage) as f64),
        number::scientific(stage.lr),
        stage.warmup.to_string(),
        schedule_word(stage.schedule).to_owned(),
        if stage.recompute { "every layer" } else { "none" }.to_owned(),
    ]
}

/// Tokens that a stage sees.
fn stage_tokens(stage: &StagePlan) -> u64 {
    [stage.length, stage.batch]
        .iter()
        .fold(stage.steps as u64, |product, factor| product.saturating_mul(*factor as u64))
}

fn schedule_word(schedule: Schedule) -> &'static str {
    match schedule {
        Schedule::Constant => "constant",
        Schedule::Cosine => "cosine",
        Schedule::Linear => "linear",
        Schedule::Trapezoid => "trapezoid",
    }
}

/// One line where all stages have the same optimiser, one per stage otherwise. Seeds differ between stages.
fn optimizers(plan: &Plan) -> String {
    let lines: Vec<String> = plan.stages.iter().map(|stage| optimizer(plan.optimizer, stage)).collect();
    let same = lines.windows(2).all(|pair| pair[0] == pair[1]);
    let seeds: Vec<String> = plan.stages.iter().map(|stage| stage.seed.to_string()).collect();
    let word = if seeds.len() > 1 { "seeds" } else { "seed" };
    if same {
        return format!("{}; {word} {}\n", lines.first().map_or("", String::as_str), seeds.join(", "));
    }
    let numbered = lines.iter().zip(seeds).enumerate();
    numbered.map(|(index, (line, seed))| format!("stage {}: {line}; seed {seed}\n", index + 1)).collect()
}

fn optimizer(optimizer: Optimizer, stage: &StagePlan) -> String {
    let kept = match (optimizer, stage.learns) {
        (Optimizer::AdamW8bit, Learns::Weights) => " with moments in 8 bits",
        _ => "",
    };
    let [beta1, beta2, decay] = [stage.beta1, stage.beta2, stage.weight_decay].map(number::plain);
    let clip = match stage.clip {
        f64::MAX => "not clipped".to_owned(),
        clip => format!("clipped at norm {}", number::plain(clip)),
    };
    format!("AdamW{kept}, betas {beta1} and {beta2}, weight decay {decay}, {clip}")
}

/// The recipe's sources, and those of stages that have their own.
pub(super) fn data(plan: &Plan) -> String {
    let own = |stage: &&StagePlan| stage.data != plan.data;
    let all_own = !plan.stages.is_empty() && plan.stages.iter().all(|stage| own(&stage));
    let common = match plan.data.is_empty() {
        false => sources(&plan.data),
        true if plan.stages.is_empty() => "none\n".to_owned(),
        true if all_own => String::new(),
        true => "none in the recipe: `train` takes `--data`\n".to_owned(),
    };
    let stages = plan.stages.iter().enumerate().filter(|(_, stage)| own(stage));
    common
        + &stages
            .map(|(index, stage)| format!("stage {} reads\n{}", index + 1, sources(&stage.data)))
            .collect::<String>()
}

fn sources(sources: &[SourcePlan]) -> String {
    let mut table = Table::new([("", Align::Right), ("", Align::Left), ("", Align::Left)]);
    for source in sources {
        table.row(source_row(source));
    }
    table.to_text()
}

fn source_row(source: &SourcePlan) -> [String; 3] {
    let (kind, what) = match &source.kind {
        SourceKind::Text { glob } => ("text", format!("{glob}, a file is a document")),
        SourceKind::Jsonl { glob, field } => ("jsonl", format!("{glob}, field {field:?} of each line is a document")),
        SourceKind::Parquet { glob, field } => {
            ("parquet", format!("{glob}, column {field:?} of each row is a document"))
        }
        SourceKind::Dataset { path, split, config, field } => {
            let config = if config.is_empty() { String::new() } else { format!(", configuration {config:?}") };
            ("dataset", format!("{path}{config}, split {split:?}, field {field:?} of each example is a document"))
        }
        SourceKind::Chat { glob, field } => (
            "chat",
            format!("{glob}, field {field:?} of each line or row is a conversation; the assistant's turns count"),
        ),
        SourceKind::Passkey => ("passkey", format!("generated: hidden keys, {}", papers(&source.papers))),
        SourceKind::Qa => ("qa", format!("generated: facts, {}", papers(&source.papers))),
    };
    let what = match source.replay {
        0 => what,
        window => format!("{what}; replayed in pieces of {} tokens", number::tokens(window)),
    };
    let often = match source.times {
        0 | 1 => String::new(),
        times => format!("; from {} tokens on {times} times", number::tokens(source.upsample)),
    };
    [number::percent(source.share), kind.to_owned(), what + &often]
}

/// "5 asked for at the end, said at 5% to 95%; answers alone are learned".
fn papers(papers: &Papers) -> String {
    let all_along = if papers.exams < 1.0 { "asked for all along, or " } else { "" };
    let depths = match (papers.shallowest, papers.deepest) {
        (0.0, 1.0) => String::new(),
        (from, to) => format!(", said at {} to {}", number::percent(from), number::percent(to)),
    };
    let loss = if papers.loss == Loss::Answers { "; answers alone are learned" } else { "" };
    format!("{all_along}{} at the end{depths}{loss}", papers.asked)
}

/// The terms of the largest step with bars on the scale of the device.
fn memory(plan: &Plan) -> String {
    let (memory, available) = (plan.memory(), plan.device.memory());
    let scale = if available == u64::MAX { memory.total } else { memory.total.max(available) };
    let mut table = Table::new([("", Align::Left), ("", Align::Right), ("", Align::Right), ("", Align::Left)]);
    let share = |bytes: u64| bytes as f64 / scale.max(1) as f64;
    for term in &memory.terms {
        let part = number::percent_tenths(term.bytes as f64 / memory.total.max(1) as f64);
        table.row([term.name.to_string(), number::bytes(term.bytes), part, page::bar(share(term.bytes))]);
    }
    table.rule();
    let whole = page::gauge(share(memory.total));
    table.row(["total".to_owned(), number::bytes(memory.total), String::new(), whole]);
    let (title, fits) = (memory_title(plan), fits(plan.device, memory.total));
    format!("{title}{}{fits}\n{}{}", table.to_text(), longest(plan), on_the_host(memory.host))
}

/// How far the device would reach.
fn longest(plan: &Plan) -> String {
    match plan.longest() {
        None => String::new(),
        Some(0) => "not even sequences of 1K tokens fit\n".to_owned(),
        Some(length) => format!("sequences of up to {} tokens fit\n", number::tokens(length)),
    }
}

fn on_the_host(bytes: u64) -> String {
    if bytes == 0 {
        return String::new();
    }
    format!("beside it {} of the host's memory are pinned, where layer inputs wait\n", number::bytes(bytes))
}

fn memory_title(plan: &Plan) -> String {
    match plan.stages.len() {
        0 => format!("while {} tokens are read\n", number::tokens(plan.target)),
        1 => "at the peak of an optimiser step\n".to_owned(),
        _ => "at the peak of the stage that needs most\n".to_owned(),
    }
}

/// The total against the device.
fn fits(device: Device, total: u64) -> String {
    let available = device.memory();
    if available == u64::MAX {
        return format!("{device} sets no limit");
    }
    let (there, share) = (number::bytes(available), number::percent(total as f64 / available.max(1) as f64));
    match available.checked_sub(total) {
        Some(free) => format!("{share} of {device}, which holds {there}; {} stay free", number::bytes(free)),
        None => format!("{share} of {device}, which holds {there}: {} too much", number::bytes(total - available)),
    }
}

/// Keys and values of one sequence at the target, beside what full attention would keep.
fn kv_cache(plan: &Plan) -> String {
    let (ours, full) = (plan.kv_cache_bytes(plan.target), plan.kv_cache_bytes_full(plan.target));
    let share = ours as f64 / full.max(1) as f64;
    let mut table = Table::new([("", Align::Left), ("", Align::Right), ("", Align::Left)]);
    table.row(["this recipe".to_owned(), number::bytes(ours), page::bar(share)]);
    table.row(["all layers full".to_owned(), number::bytes(full), page::bar(1.0)]);
    let saved = match ours < full {
        true => format!("saves {}, {}", number::percent(1.0 - share), number::bytes(full - ours)),
        false => "saves nothing: every layer is full, or its window is no shorter".to_owned(),
    };
    format!("one sequence of {} tokens\n{}{saved}\n", number::tokens(plan.target), table.to_text())
}

fn evaluation(plan: &Plan) -> String {
    if plan.eval.is_empty() {
        return "none\n".to_owned();
    }
    let mut table = Table::new([("", Align::Left), ("", Align::Left)]);
    for eval in plan.eval.iter() {
        table.row([eval.word().to_owned(), measured(eval, plan.model.context)]);
    }
    table.to_text()
}

/// At which lengths, or what else a measurement says.
fn measured(eval: &EvalPlan, native: usize) -> String {
    let lengths = number::token_list(eval.lengths().unwrap_or_default());
    match eval {
        EvalPlan::KMax { distances, trials, success, .. } => {
            let share = number::percent(*success);
            format!("{lengths}: {distances} distances, up to {trials} keys each, {share} recalled")
        }
        EvalPlan::Needle { kind, .. } => format!("{}: {lengths}", kind.word()),
        EvalPlan::Short { max_loss } => {
            let native = number::tokens(native);
            format!("within {native}, at most {} nats above the untouched model", number::plain(*max_loss))
        }
        EvalPlan::Choice { path } => path.to_string(),
        EvalPlan::Perplexity { .. } | EvalPlan::Passkey { .. } | EvalPlan::Topics { .. } => lengths,
    }
}

fn notes(plan: &Plan) -> String {
    if plan.notes.is_empty() {
        return "none\n".to_owned();
    }
    let note = |note: &recipe_core::Note| wrapped(&format!("[{}] {}\n", note.rule, note.message));
    plan.notes.iter().map(note).collect()
}

#[cfg(test)]
mod tests;
