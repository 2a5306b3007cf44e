//! E2-LLM (arXiv 2401.06951).

use context_recipe::plan::{Plan, Positions, Recipe, Rope};
use context_recipe::report::number::{fixed, percent};
use context_recipe::report::{Align, Table};

use super::super::arm::{Arm, Heads, Reading, Reads, Trial};
use super::super::results::{Column, Results, Row};
use super::toy::{LR, NATIVE, STEPS, plan, recipe, stage};
use super::{Claim, Part, Shown, Verdict};

const SCALES: [(usize, &str); 4] = [(2, "2x"), (4, "4x"), (8, "8x"), (16, "16x")];

pub(super) fn claim() -> Claim {
    Claim {
        name: "e2-llm",
        title: "E2-LLM: one short training serves many scales",
        source: "arXiv 2401.06951",
        brief: "one training at 4K, perplexity at 16K, 32K, 64K: 2.54, 2.46, 2.56",
        original: "Llama-2 7B, trained once at 4K under random scales up to 20: perplexity of Proof-pile at 16K with \
                   scale 4 2.54, at 32K with 8 2.46, at 64K with 16 2.56; without random offsets LongBench 42.28, \
                   without random scales 41.66, of 43",
        setting: format!(
            "Base of 256 tokens, {STEPS} steps of 8 × 256 tokens, all weights learn. One training each: random scales \
             up to 20 and offsets, the same scale of 8 throughout (interpolation at the native length), and all of it \
             read at 2, 4, 8 and 16 times the window under that scale."
        ),
        arms: vec![
            arm("e2", "random scales", Some(Positions::E2 { scale_max: None })),
            arm("fixed", "scale 8 throughout", None),
        ],
        show,
    }
}

fn arm(name: &str, label: &str, positions: Option<Positions>) -> Arm {
    let of = |scale: usize| -> Recipe { recipe(scale).rope(Rope::interpolate(scale as f64)) };
    let trained = positions.into_iter().fold(of(8).train([stage(STEPS, NATIVE, LR)]), Recipe::positions);
    let reading = |(scale, name): (usize, &str)| {
        let target = scale * NATIVE;
        let plan: Plan = plan(of(scale));
        Reading { name: name.to_owned(), plan, lengths: vec![NATIVE, target], k_max: false, heads: Heads::Planned }
    };
    let trial = Trial {
        plan: plan(trained),
        text: Reads::Chronicles,
        search: None,
        after: vec![STEPS],
        readings: SCALES.map(reading).into(),
    };
    Arm::trial(name, label, trial)
}

fn show(results: &Results) -> Shown {
    let last = |arm: &str, (scale, name): (usize, &'static str)| {
        results.mean(&Row::new("", arm, name), Column::Last(scale * NATIVE))
    };
    let keys = |arm: &str, (scale, name): (usize, &'static str)| {
        results.mean(&Row::new("", arm, name), Column::Keys(scale * NATIVE))
    };
    let home =
        |arm: &str, (_, name): (usize, &'static str)| results.mean(&Row::new("", arm, name), Column::Home(NATIVE));
    let figures: Vec<f64> = SCALES.iter().flat_map(|&scale| ["e2", "fixed"].map(|arm| last(arm, scale))).collect();
    let serves = SCALES.iter().all(|&scale| last("e2", scale) < home("e2", scale) + 0.1);
    let wins = SCALES.iter().filter(|&&scale| last("e2", scale) < last("fixed", scale)).count();
    let mut table = Table::new(
        ["scale, length", "random scales: last quarter", "keys", "scale 8: last quarter", "keys"]
            .into_iter()
            .enumerate()
            .map(|(at, head)| (head, if at == 0 { Align::Left } else { Align::Right })),
    );
    for scale in SCALES {
        let cells = ["e2", "fixed"].into_iter().flat_map(|arm| {
            let row = Row::new("", arm, scale.1);
            [Column::Last(scale.0 * NATIVE), Column::Keys(scale.0 * NATIVE)].map(|column| results.cell(&row, column))
        });
        table.row(
            [format!("{}×, {}", scale.0, context_recipe::report::number::tokens(scale.0 * NATIVE))]
                .into_iter()
                .chain(cells),
        );
    }
    Shown {
        ours: format!(
            "loss at 2, 4, 8, 16×: {}; keys {}; trained under one scale {}",
            SCALES.map(|scale| fixed(last("e2", scale), 2)).join(", "),
            SCALES.map(|scale| percent(keys("e2", scale))).join(", "),
            SCALES.map(|scale| fixed(last("fixed", scale), 2)).join(", ")
        ),
        verdict: Verdict::of(&figures, &[serves, wins >= 3]),
        why: format!(
            "{} Random scales beat a fixed one at {wins} of 4 scales. No sequence is longer than the native window, \
             so a far key is never looked up in training.",
            if serves {
                "Every scale is served within 0.1 nats of the native window."
            } else {
                "Not every scale is served within 0.1 nats of the native window."
            }
        ),
        parts: vec![Part::Table(table)],
    }
}
