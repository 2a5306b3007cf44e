//! Position Interpolation (arXiv 2306.15595).

use context_recipe::plan::{Recipe, Rope, presets};
use context_recipe::report::number::{fixed, percent};
use context_recipe::report::{Align, Axis, LinePlot, Mark, Series, Table};

use super::super::arm::{Arm, Law, Trial, Work};
use super::super::results::{Column, Results, Row};
use super::toy::{AWAY, HOME, NATIVE, SCALE, STEPS, TARGET, full, plan, reading, trained};
use super::{Claim, Part, Shown, Verdict};

/// SmolLM2's own window, and what the laws are read at.
const REAL: usize = 8192;
const REAL_TARGET: usize = 16_384;

/// Name and law on the real model.
fn laws() -> [(&'static str, Rope); 6] {
    [
        ("none", Rope::None),
        ("interpolate", Rope::interpolate(2.0)),
        ("ntk", Rope::ntk(2.0)),
        ("dynamic_ntk", Rope::dynamic_ntk(2.0)),
        ("yarn", Rope::yarn(2.0)),
        ("llama3", Rope::llama3(2.0)),
    ]
}

pub(super) fn claim() -> Claim {
    Claim {
        name: "position-interpolation",
        title: "Position Interpolation brings a longer window in a few hundred steps",
        source: "arXiv 2306.15595",
        brief: "perplexity over 1000 untouched, 7.1 after 200 steps; k_max 8192 of 8192, directly tuned 2304",
        original: "LLaMA 7B, 2K: perplexity of PG19 beyond 1000 from 4K on when untouched; interpolated to 8K 16.1 \
                   untrained, 7.12 after 200 steps, 6.95 after 1000. Effective window of the key test: the whole 8K \
                   from step 200 on, directly tuned 1792 after 200 steps and 2304 after 1000 of 8192",
        setting: format!(
            "Base of 256 tokens to {TARGET} ({SCALE}×), all weights learn: {HOME} steps at 256 tokens, then {AWAY} at \
             {TARGET}, 2048 tokens each. k_max by the paper's protocol: 32 distances, 10 documents each, one in five \
             is enough."
        ),
        arms: toy_arms().into_iter().chain(real_arms()).collect(),
        show,
    }
}

fn toy_arms() -> Vec<Arm> {
    let recipe = |rope| plan(full(rope, SCALE));
    let arm = |name, label, rope| {
        let plan = recipe(rope);
        let mut own = reading("own", &plan);
        own.k_max = true;
        let after = vec![0, HOME / 2, HOME, HOME + AWAY / 2, STEPS];
        Arm::trial(name, label, Trial { after, readings: vec![own], ..trained(plan) })
    };
    vec![
        arm("interpolated", "interpolated", Rope::interpolate(SCALE as f64)),
        arm("direct", "directly tuned", Rope::None),
    ]
}

fn real_arms() -> Vec<Arm> {
    let arm = |(name, rope): (&'static str, Rope)| {
        let recipe = Recipe::new(presets::smollm2_135m(), REAL_TARGET).rope(rope);
        let plan = plan(recipe);
        let law = Law { plan, length: REAL_TARGET, documents: 1 };
        Arm { name: format!("smollm2-{name}"), label: name.to_owned(), work: Work::Law(Box::new(law)) }
    };
    laws().into_iter().map(arm).collect()
}

fn rows() -> Vec<Row> {
    let row = |label: &str, arm: &str, steps| Row::new(label, arm, "own").after(steps);
    vec![
        row("untouched", "direct", 0),
        row("interpolated, untrained", "interpolated", 0),
        row("interpolated, 100 steps", "interpolated", HOME),
        row("interpolated, 200 steps", "interpolated", STEPS),
        row("directly tuned, 100 steps", "direct", HOME),
        row("directly tuned, 200 steps", "direct", STEPS),
    ]
}

fn show(results: &Results) -> Shown {
    let rows = rows();
    let [untouched, untrained, _, tuned, _, direct] = &rows[..] else { unreachable!("six rows") };
    let last = |row: &Row| results.mean(row, Column::Last(TARGET));
    let reach = |row: &Row| results.mean(row, Column::KMax);
    let own = results.mean(untouched, Column::Home(NATIVE));
    let figures = [last(untouched), last(untrained), last(tuned), reach(tuned), reach(direct), own];
    let [far, blurred, back, wide, narrow, own] = figures;
    let explodes = far > own + 1.0;
    let finite = blurred.is_finite() && blurred > own + 0.5;
    let returns = back < own + 0.1;
    let wider = wide > 0.0 && wide >= 2.0 * narrow;
    let holds = [explodes, finite, returns, wider];
    Shown {
        ours: format!(
            "loss {} untouched, {} interpolated, {} after {STEPS} steps ({} in its own window); k_max {} of {TARGET}, \
             directly tuned {}",
            fixed(far, 2),
            fixed(blurred, 2),
            fixed(back, 2),
            fixed(own, 2),
            fixed(wide, 0),
            fixed(narrow, 0)
        ),
        verdict: Verdict::of(&figures, &holds),
        why: why(
            holds,
            blurred > far,
            [HOME + AWAY / 2, STEPS].map(|steps| reach(&Row::new("", "direct", "own").after(steps))),
        ),
        parts: [table(results, &rows), curves(results, &rows), reaches(results)]
            .into_iter()
            .chain(real(results))
            .collect(),
    }
}

fn table(results: &Results, rows: &[Row]) -> Part {
    let lengths = [Column::Home(TARGET), Column::Last(TARGET / 2), Column::Last(TARGET)];
    let keys = [Column::Keys(TARGET / 2), Column::Keys(TARGET), Column::KMax];
    Part::Table(results.table("state", rows, &[lengths, keys].concat()))
}

fn why([explodes, finite, returns, wider]: [bool; 4], worse: bool, direct: [f64; 2]) -> String {
    let said = |holds: bool, yes: &str, no: &str| if holds { yes.to_owned() } else { no.to_owned() };
    let mut words = vec![
        said(
            explodes,
            "The untouched model is lost beyond its window.",
            "The untouched model is not lost beyond its window.",
        ),
        said(
            finite,
            "Interpolation without training is finite, and useless.",
            "Interpolation without training is nearly free.",
        ),
        said(returns, "Two hundred steps bring the loss back.", "Two hundred steps do not bring the loss back."),
        said(
            wider,
            "Direct tuning for the same steps reaches far less far.",
            &format!(
                "Direct tuning is slower, but not stuck as at 7B: its window is {} after half of the long steps and \
                 {} after all, and it goes on growing; a model this small, at a rate of 1e-3, learns new angles \
                 quickly.",
                fixed(direct[0], 0),
                fixed(direct[1], 0)
            ),
        ),
    ];
    if worse {
        words.push(
            "Untrained, this base is worse under interpolation than beyond its window: it looks one token back by an \
             angle, and interpolation makes that angle eight times smaller from the first token on. LLaMA 7B's \
             perplexity under it, untrained, is only 2.3 times what 200 steps bring."
                .to_owned(),
        );
    }
    words.join(" ")
}

fn curves(results: &Results, rows: &[Row]) -> Part {
    let (x, y) = (Axis::linear("position").tokens(), Axis::linear("loss, nats per token"));
    let mut plot = LinePlot::new("Loss by position", x, y);
    plot.series = rows.iter().map(|row| results.curve(row, TARGET)).collect();
    plot.marks = vec![Mark { at: NATIVE as f64, label: "own window".to_owned() }];
    Part::plot("loss", "Loss by position, before and after training", &plot.to_svg())
}

fn reaches(results: &Results) -> Part {
    let (x, y) = (Axis::linear("optimiser steps"), Axis::linear("effective window, tokens").tokens());
    let mut plot = LinePlot::new("Effective window by steps", x, y);
    let line = |arm: &str, label: &str| {
        let steps = [0, HOME / 2, HOME, HOME + AWAY / 2, STEPS];
        let at = |steps: usize| (steps as f64, results.mean(&Row::new(label, arm, "own").after(steps), Column::KMax));
        Series::new(label, steps.map(at))
    };
    plot.series = vec![line("interpolated", "interpolated"), line("direct", "directly tuned")];
    Part::plot("window", "Effective window by optimiser steps", &plot.to_svg())
}

/// The laws on the real model, untrained.
fn real(results: &Results) -> Vec<Part> {
    let mut table = Table::new([
        ("★ SmolLM2-135M, untrained, at 16K", Align::Left),
        ("perplexity", Align::Right),
        ("up to 8K", Align::Right),
        ("last quarter", Align::Right),
        ("transformers", Align::Right),
        ("apart", Align::Right),
    ]);
    let (x, y) = (Axis::linear("position").tokens(), Axis::log("perplexity"));
    let mut plot = LinePlot::new("SmolLM2-135M on Persuasion, untrained", x, y);
    for (name, _) in laws() {
        let (arm, label) =
            (format!("smollm2-{name}"), if name == "none" { name.to_owned() } else { format!("{name}(2)") });
        let row = Row::new(label.clone(), arm.clone(), "read");
        let perplexity = results.value(&arm, "perplexity");
        let theirs = super::super::peers::perplexity(name, results.value(&arm, "token sum"));
        let home = results.mean(&row, Column::Home(REAL_TARGET)).exp();
        let last = results.mean(&row, Column::Last(REAL_TARGET)).exp();
        table.row([
            label,
            fixed(perplexity, 2),
            fixed(home, 2),
            fixed(last, 2),
            fixed(theirs, 2),
            percent((perplexity / theirs - 1.0).abs()),
        ]);
        let mut series = results.curve(&row, REAL_TARGET);
        series.points.iter_mut().for_each(|(_, nll)| *nll = nll.exp());
        plot.series.push(series);
    }
    plot.marks = vec![Mark { at: REAL as f64, label: "own window".to_owned() }];
    vec![
        Part::Table(table),
        Part::plot("smollm2", "Perplexity by position of six laws on SmolLM2-135M", &plot.to_svg()),
    ]
}
