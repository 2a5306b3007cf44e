//! The section about floating-point operations and time.

use recipe_core::{Device, Pattern, Plan, StageFlops, Work};

use super::wrapped;
use crate::report::number::{self, duration, flops, percent, percent_tenths};
use crate::report::table::{Align, Table};

/// A speed that times are estimated with.
#[derive(Clone, Debug, PartialEq)]
pub struct Rate {
    /// Floating-point operations per second, sustained.
    pub flops: f64,
    /// Why this speed: `half of an A100's bf16 peak`.
    pub basis: String,
}

impl Rate {
    /// What is assumed while nobody has measured: half of the dense bf16 peak of two usual cards (312 and 989 TFLOP/s);
    /// a round number on a CPU.
    pub fn assumed(device: Device) -> Vec<Self> {
        let rate = |flops, basis: &str| Self { flops, basis: basis.to_owned() };
        match device {
            Device::Cpu { .. } => vec![rate(1e11, "assumed, not measured")],
            Device::Cuda { .. } => {
                vec![rate(156e12, "half of an A100's bf16 peak"), rate(494e12, "half of an H100's bf16 peak")]
            }
        }
    }
}

/// Work by term, per step and in all, and the time that it takes at each of `rates`.
pub(super) fn work(plan: &Plan, rates: &[Rate]) -> String {
    let all = plan.flops();
    let (table, what, total) = match &all.stages[..] {
        [] => reading(plan),
        [stage] => (one_stage(plan, stage), "training", all.total),
        stages => (many_stages(plan, stages, all.total), "training", all.total),
    };
    format!("{table}{}", wrapped(&format!("{}{}", saving(plan), times(what, total, rates))))
}

/// Nothing is trained, so the target is read once.
fn reading(plan: &Plan) -> (String, &'static str, f64) {
    let terms = plan.forward_flops(plan.target);
    let sum = terms.iter().map(|term| term.flops).sum();
    let head = format!("of reading {} tokens once", number::tokens(plan.target));
    (format!("{head}\n{}", by_pass(&terms, sum)), "reading", sum)
}

fn one_stage(plan: &Plan, stage: &StageFlops) -> String {
    let steps = plan.stages.first().map_or(0, |stage| stage.steps);
    format!("of one optimiser step\n{}{} in {steps} steps\n", by_pass(&stage.terms, stage.step), flops(stage.total))
}

/// A row per kind of work, a column per pass: `linear backward` is the kind `linear` and the pass `backward`.
fn by_pass(terms: &[Work], sum: f64) -> String {
    let (kinds, passes) = (distinct(terms, kind), distinct(terms, pass));
    let names = passes.iter().copied().chain(["together", "share"]).map(|name| (name, Align::Right));
    let mut table = Table::new([("", Align::Left)].into_iter().chain(names));
    let row = |name: &str, of: &dyn Fn(&Work) -> bool| {
        let part = |pass_name: &str| total(terms, |term| of(term) && pass(term) == pass_name);
        let together = total(terms, of);
        let cells =
            passes.iter().map(|name| flops(part(name))).chain([flops(together), percent_tenths(together / sum)]);
        [name.to_owned()].into_iter().chain(cells).collect::<Vec<_>>()
    };
    for name in &kinds {
        table.row(row(name, &|term| kind(term) == *name));
    }
    table.rule();
    table.row(row("together", &|_| true));
    table.to_text()
}

/// A row per stage, a column per kind of work.
fn many_stages(plan: &Plan, stages: &[StageFlops], sum: f64) -> String {
    let kinds = stages.first().map(|stage| distinct(&stage.terms, kind)).unwrap_or_default();
    let names = kinds.iter().copied().chain(["step", "all steps"]).map(|name| (name, Align::Right));
    let mut table = Table::new([("stage", Align::Left), ("length", Align::Right)].into_iter().chain(names));
    for (index, (stage, planned)) in stages.iter().zip(plan.stages.iter()).enumerate() {
        let parts = kinds.iter().map(|name| flops(total(&stage.terms, |term| kind(term) == *name)));
        let head = [(index + 1).to_string(), number::tokens(planned.length)];
        table.row(head.into_iter().chain(parts).chain([flops(stage.step), flops(stage.total)]));
    }
    table.rule();
    let empty = vec![String::new(); kinds.len() + 2];
    table.row(["all".to_owned()].into_iter().chain(empty).chain([flops(sum)]));
    format!("of one optimiser step\n{}", table.to_text())
}

fn kind(term: &Work) -> &str {
    term.name.rsplit_once(' ').map_or(&term.name, |(kind, _)| kind)
}

fn pass(term: &Work) -> &str {
    term.name.rsplit_once(' ').map_or("", |(_, pass)| pass)
}

fn total(terms: &[Work], wanted: impl Fn(&Work) -> bool) -> f64 {
    terms.iter().filter(|term| wanted(term)).map(|term| term.flops).sum()
}

/// Names in the order of their first term; names without any work are left out.
fn distinct<'a>(terms: &'a [Work], name: impl Fn(&'a Work) -> &'a str) -> Vec<&'a str> {
    let mut names = vec![];
    for term in terms.iter().filter(|term| term.flops > 0.0) {
        if !names.contains(&name(term)) {
            names.push(name(term));
        }
    }
    names
}

/// What the pattern leaves of full attention's work at the longest training length.
fn saving(plan: &Plan) -> String {
    let length = plan.stages.iter().map(|stage| stage.length).max().unwrap_or(plan.target);
    let pairs: f64 = plan.layers.iter().map(|pattern| pattern.visible_pairs(length)).sum();
    let full = Pattern::Full.visible_pairs(length) * plan.layers.len() as f64;
    if plan.layers.iter().all(|pattern| *pattern == Pattern::Full) || full == 0.0 {
        return String::new();
    }
    let (share, length) = (percent(pairs / full), number::tokens(length));
    format!("attention at {length} tokens: {share} of the work that full layers would do\n")
}

fn times(what: &str, total: f64, rates: &[Rate]) -> String {
    let time = |rate: &Rate| {
        let (time, speed) = (duration(total / rate.flops), flops(rate.flops));
        format!("{what}: {time} at {speed}/s ({})\n", rate.basis)
    };
    let lines: String = rates.iter().map(time).collect();
    if lines.is_empty() {
        lines
    } else {
        lines + "times are for the operations alone, without reading data, evaluation and checkpoints\n"
    }
}
