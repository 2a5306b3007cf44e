//! The course of training as a table and a plot.

use recipe_core::Plan;

use super::number::{bytes, fixed, rate, significant, tokens};
use super::plot::{Axis, LinePlot, Mark, Series};
use super::table::{Align, Table};
use crate::train::StepMetrics;

/// Steps that the running mean reaches back at most.
const MOST_MEAN: usize = 200;

/// A row per stage: the loss when it began and ended, the largest gradient, the speed, the memory.
pub fn training_table(plan: &Plan, metrics: &[StepMetrics]) -> Table {
    let names =
        ["stage", "length", "steps", "loss, first", "loss, last tenth", "largest grad norm", "speed", "peak memory"];
    let mut table = Table::new(names.map(|name| (name, Align::Right)));
    for stage in metrics.chunk_by(|a, b| a.stage == b.stage) {
        table.row(stage_row(plan, stage));
    }
    table
}

fn stage_row(plan: &Plan, steps: &[StepMetrics]) -> Vec<String> {
    let (Some(first), Some(last)) = (steps.first(), steps.last()) else {
        return vec![];
    };
    let length = plan.stages.get(first.stage).map_or(String::new(), |stage| tokens(stage.length));
    let tenth = &steps[steps.len() - steps.len().div_ceil(10)..];
    // A distance of hidden states may be small.
    let loss = |value| if first.gates.is_some() { significant(value, 3) } else { fixed(value, 3) };
    let largest = steps.iter().map(|step| step.grad_norm).fold(f64::NAN, f64::max);
    vec![
        (first.stage + 1).to_string(),
        length,
        steps.len().to_string(),
        loss(first.loss),
        loss(mean(tenth.iter().map(|step| step.loss))),
        significant(largest, 3),
        rate(mean(steps.iter().map(|step| step.tokens_per_second))),
        bytes(last.peak_memory_bytes),
    ]
}

/// Loss by step: each step pale, the running mean strong, stages marked with their length.
pub fn training_plot(plan: &Plan, metrics: &[StepMetrics]) -> LinePlot {
    let losses: Vec<(f64, f64)> = metrics.iter().map(|step| (step.step as f64, step.loss)).collect();
    let window = (metrics.len() / 50).clamp(1, MOST_MEAN);
    let each = "each step";
    let (name, raw) = match window {
        1 => (each.to_owned(), vec![]),
        _ => (format!("mean of {window} steps"), vec![Series::new(each, losses.iter().copied())]),
    };
    let marks = stage_marks(plan, metrics);
    let x =
        if marks.is_empty() { "optimiser step" } else { "optimiser step; a dashed line begins a stage of that length" };
    LinePlot {
        series: vec![Series::new(name, running_mean(&losses, window))],
        raw,
        marks,
        ..LinePlot::new("Training loss", Axis::linear(x), Axis::linear(loss_words(metrics)))
    }
}

/// Gradient norm, learning rate and speed by step: a name of a file, what it shows, and the plot.
pub(super) fn course_plots(plan: &Plan, metrics: &[StepMetrics]) -> [(&'static str, &'static str, LinePlot); 3] {
    let of = |title: &str, label: &str, value: fn(&StepMetrics) -> f64| {
        let points: Vec<(f64, f64)> = metrics.iter().map(|step| (step.step as f64, value(step))).collect();
        LinePlot {
            series: vec![Series::new("each step", points)],
            marks: stage_marks(plan, metrics),
            ..LinePlot::new(title, Axis::linear("optimiser step"), Axis::linear(label))
        }
    };
    [
        ("grad_norm.svg", "Gradient norm by step", of("Gradient norm", "before clipping", |step| step.grad_norm)),
        ("learning_rate.svg", "Learning rate by step", of("Learning rate", "of AdamW", |step| step.learning_rate)),
        ("speed.svg", "Tokens per second by step", of("Speed", "tokens per second", |step| step.tokens_per_second)),
    ]
}

/// Gates have a loss of another kind.
fn loss_words(metrics: &[StepMetrics]) -> &'static str {
    let of_gates = metrics.iter().filter(|step| step.gates.is_some()).count();
    match of_gates {
        0 => "loss, nats per token",
        all if all == metrics.len() => "loss, squared distance of hidden states",
        _ => "loss, nats per token; of gates, squared distance",
    }
}

/// Where stages begin, with their length; a single stage needs no mark.
fn stage_marks(plan: &Plan, metrics: &[StepMetrics]) -> Vec<Mark> {
    let stages: Vec<&StepMetrics> =
        metrics.chunk_by(|a, b| a.stage == b.stage).filter_map(|stage| stage.first()).collect();
    let label = |step: &StepMetrics| plan.stages.get(step.stage).map_or(String::new(), |stage| tokens(stage.length));
    let mark = |step: &&StepMetrics| Mark { at: step.step as f64, label: label(step) };
    if stages.len() > 1 { stages.iter().map(mark).collect() } else { vec![] }
}

/// Each y becomes the mean of itself and those before it, `window` in all.
fn running_mean(points: &[(f64, f64)], window: usize) -> Vec<(f64, f64)> {
    let at = |end: usize| {
        let first = (end + 1).saturating_sub(window);
        (points[end].0, mean(points[first..=end].iter().map(|point| point.1)))
    };
    (0..points.len()).map(at).collect()
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}
