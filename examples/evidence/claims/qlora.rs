//! "Extending Llama-3's Context Ten-Fold Overnight" (arXiv 2404.19553).

use context_recipe::plan::{Adapt, presets};
use context_recipe::report::number::{bytes, fixed, percent};

use super::super::arm::Arm;
use super::super::results::{Column, Results, Row};
use super::toy::{COLUMNS, LR_LORA, SCALE, TARGET, full, interpolate, interpolated, loss_plot, plan, stages, trained};
use super::{Claim, Part, Shown, Verdict};

fn adapters() -> [(&'static str, &'static str, Adapt); 4] {
    [
        ("qlora-embed", "NF4, adapters, embedding", Adapt::qlora(32, 16.0).with_embed()),
        ("lora-embed", "adapters, embedding", Adapt::lora(32, 16.0).with_embed()),
        ("qlora", "NF4, adapters", Adapt::qlora(32, 16.0)),
        ("lora", "adapters", Adapt::lora(32, 16.0)),
    ]
}

pub(super) fn claim() -> Claim {
    let arm = |(name, label, adapt): (&str, &str, Adapt)| {
        let recipe = full(interpolate(), SCALE).adapt(adapt).train(stages(SCALE, LR_LORA));
        Arm::trial(name, label, trained(plan(recipe)))
    };
    Claim {
        name: "qlora",
        title: "QLoRA with a trained embedding extends as well as full tuning",
        source: "arXiv 2404.19553",
        brief: "all needles to 80K on NF4; in LongLoRA, perplexity 8.3 with the embedding, 11.4 without",
        original: "Llama-3 8B to 80K, rank 32, alpha 16, embedding: all needles to 80K, LongBench 47.2 against 43.2 \
                   of the base, in 8 h on 8 A800; no comparison with full tuning. LongLoRA's table: perplexity at 32K \
                   8.08 full, 8.29 adapters and embedding, 11.44 adapters alone",
        setting: format!(
            "Base of 256 tokens to {TARGET}, interpolated (the original raises theta), the usual 200 steps; adapters \
             of rank 32 and alpha 16 on q, k, v, o at 8e-3, all weights at 1e-3."
        ),
        arms: [interpolated("full", "all weights")].into_iter().chain(adapters().map(arm)).collect(),
        show,
    }
}

fn show(results: &Results) -> Shown {
    let adapted = adapters().map(|(name, label, _)| Row::new(label, name, "own"));
    let rows: Vec<Row> = [Row::new("all weights", "full", "own")].into_iter().chain(adapted).collect();
    let last = |at: usize| results.mean(&rows[at], Column::Last(TARGET));
    let keys = |at: usize| results.mean(&rows[at], Column::Keys(TARGET));
    let figures: Vec<f64> = (0..rows.len()).map(last).collect();
    let equal = last(1) - last(0) < 0.05 && keys(0) - keys(1) < 0.1;
    let rounding = (last(1) - last(2)).abs() < 0.05;
    let needed = last(4) > last(2) + 0.05 || keys(4) < keys(2) - 0.1;
    let said = |holds: bool, yes: &str, no: &str| if holds { yes.to_owned() } else { no.to_owned() };
    Shown {
        ours: format!(
            "loss {} (NF4) and {} against {} of all weights; keys {}, {}, {}; without the embedding {} and {}",
            fixed(last(1), 3),
            fixed(last(2), 3),
            fixed(last(0), 3),
            percent(keys(1)),
            percent(keys(2)),
            percent(keys(0)),
            fixed(last(4), 3),
            percent(keys(4))
        ),
        verdict: Verdict::of(&figures, &[equal, rounding, needed]),
        why: [
            said(
                equal,
                "Adapters and embedding on an NF4 base end where all weights do.",
                "Adapters and embedding on an NF4 base end short of all weights.",
            ),
            said(
                rounding,
                "Rounding the base to 4 bits costs next to nothing.",
                "Rounding the base to 4 bits costs something.",
            ),
            said(
                needed,
                "Without the embedding it is worse.",
                "The embedding is not needed: this vocabulary of 512 needs no new place, and adapters of rank 32 are \
                 a quarter of these projections.",
            ),
        ]
        .join(" "),
        parts: vec![
            Part::Table(results.table("what learns", &rows, &[&COLUMNS[..], &[Column::Memory, Column::Time]].concat())),
            loss_plot(results, "Loss by position by what learns", &rows),
            Part::Words(planned()),
        ],
    }
}

/// At toy size memory is activations; the plan counts what it is at the original's.
fn planned() -> String {
    let of = |adapt: Adapt| {
        let recipe = context_recipe::plan::Recipe::new(presets::llama3_8b(), 81_920)
            .rope(context_recipe::plan::Rope::theta(2e8));
        let stage = context_recipe::plan::Stage::extend(1, 81_920, 5e-5);
        let data = [context_recipe::plan::Source::passkey()];
        bytes(plan(recipe.adapt(adapt).data(data).train([stage])).memory().total)
    };
    format!(
        "Memory here is mostly activations, and NF4 saves little of a small model. What the plan of Llama-3 8B at 80K \
         says: {} when all weights learn, {} with adapters and embedding, {} on NF4.",
        of(Adapt::Full),
        of(Adapt::lora(32, 16.0).with_embed()),
        of(Adapt::qlora(32, 16.0).with_embed())
    )
}
