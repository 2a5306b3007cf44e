//! DuoAttention (arXiv 2410.10819).

use context_recipe::plan::{Attention, Gates, Loss, Plan, Recipe, Rope, Source, Stage, StageKind, presets};
use context_recipe::report::number::{fixed, percent};
use context_recipe::report::{Align, Axis, LinePlot, Series, Table};

use super::super::arm::{Arm, Heads, Pace, Reading, Reads, Trial, Work};
use super::super::results::{Column, Results, Row};
use super::toy::{NATIVE, plan};
use super::{Claim, Part, Shown, Verdict};

const SHARES: [(f64, &str, &str, &str); 3] = [
    (0.25, "learned 25%", "drawn 25%", "inverted 25%"),
    (0.5, "learned 50%", "drawn 50%", "inverted 50%"),
    (0.75, "learned 75%", "drawn 75%", "inverted 75%"),
];
/// Tokens at which paces are measured.
const FAR: usize = 16_384;

pub(super) fn claim() -> Claim {
    Claim {
        name: "duo-attention",
        title: "DuoAttention: most heads need no long memory, if it is the right ones",
        source: "arXiv 2410.10819",
        brief: "75% of the heads stream: needles kept, memory 2.55×, decoding 2.18×, prefill 1.73×",
        original: "Gates learned in 2000 steps on key texts, weights stay. Llama-2 7B with 75% of its heads \
                   streaming: memory 2.55×, decoding 2.18×, prefill 1.73× better; Llama-3 8B with 50%: 1.67×, 1.50×, \
                   1.63×; needles near full attention",
        setting: "Base at its own 256 tokens, 24 heads; 300 steps of 8 texts with ten keys and a loss on answers \
                  alone, lr 0.02; streaming heads see 16 tokens and 4 sinks. Controls: drawn heads, and those that \
                  the gates would rather have streamed. Paces at 16K with 256 tokens and 64 sinks."
            .to_owned(),
        arms: vec![gates(), pace()],
        show,
    }
}

fn duo(gates: Gates, sparsity: f64, [sink, recent]: [usize; 2]) -> Attention {
    Attention::Duo { gates, sparsity: Some(sparsity), sink: Some(sink), recent: Some(recent) }
}

fn gates() -> Arm {
    let keys = Source { asked: Some(10), depth: Some((0.05, 0.95)), loss: Some(Loss::Answers), ..Source::passkey() };
    let stage = Stage {
        kind: StageKind::Gates,
        sink: Some(8),
        recent: Some(16),
        batch: Some(8),
        ..Stage::extend(300, NATIVE, 0.02)
    };
    let recipe =
        Recipe::new(presets::tiny(), NATIVE).attention(duo(Gates::Learned, 0.75, [4, 16])).data([keys]).train([stage]);
    let full = Plan { block: 16, ..plan(Recipe::new(presets::tiny(), NATIVE)) };
    let plan = Plan { block: 16, ..plan(recipe) };
    let reading = |name: &str, plan: &Plan, heads| Reading {
        name: name.to_owned(),
        plan: plan.clone(),
        lengths: vec![NATIVE],
        k_max: false,
        heads,
    };
    let mut readings = vec![reading("all heads", &full, Heads::Planned)];
    for (share, learned, drawn, inverted) in SHARES {
        readings.push(reading(learned, &plan, Heads::Learned(share)));
        readings.push(reading(drawn, &plan, Heads::Drawn(share)));
        readings.push(reading(inverted, &plan, Heads::Inverted(share)));
    }
    let trial = Trial { plan: plan.clone(), text: Reads::Chronicles, search: None, after: vec![300], readings };
    Arm::trial("gates", "gates learned", trial)
}

/// Heads spread evenly over layers, as far as paces are concerned.
fn pace() -> Arm {
    let model = presets::tiny();
    let gates: Vec<Vec<f64>> = (0..model.layers)
        .map(|layer| (0..model.kv_heads).map(|head| ((layer + head * 7) % 24) as f64 / 24.0).collect())
        .collect();
    let of = |sparsity: Option<f64>| -> Plan {
        let recipe = Recipe::new(presets::tiny(), FAR).rope(Rope::interpolate((FAR / NATIVE) as f64));
        plan(
            sparsity
                .into_iter()
                .fold(recipe, |recipe, share| recipe.attention(duo(Gates::Given(gates.clone()), share, [64, 256]))),
        )
    };
    let plans =
        vec![("full".to_owned(), of(None)), ("50%".to_owned(), of(Some(0.5))), ("75%".to_owned(), of(Some(0.75)))];
    let work = Work::Pace(Pace { plans, length: FAR, turns: 7, step: false });
    Arm { name: "pace".to_owned(), label: "full, 50% and 75% streaming, clocked".to_owned(), work }
}

fn show(results: &Results) -> Shown {
    let row = |reading: &'static str| Row::new(reading, "gates", reading);
    let rows: Vec<Row> =
        ["all heads"].into_iter().chain(SHARES.into_iter().flat_map(|(_, a, b, c)| [a, b, c])).map(row).collect();
    let keys = |row: &Row| results.mean(row, Column::Keys(NATIVE));
    let loss = |row: &Row| results.mean(row, Column::Home(NATIVE));
    let figures: Vec<f64> = rows.iter().map(keys).collect();
    let kept = [1, 4, 7]
        .into_iter()
        .all(|at| keys(&rows[at]) > keys(&rows[0]) - 0.05 && loss(&rows[at]) < loss(&rows[0]) + 0.05);
    let apart = keys(&rows[8]) < keys(&rows[7]) - 0.3;
    let pace = |what: &str, plan: &str| {
        results.value("pace", &format!("full: {what}")) / results.value("pace", &format!("{plan}: {what}"))
    };
    Shown {
        ours: format!(
            "75% streaming: keys {} against {} of all heads, drawn heads {}, inverted {}; loss {} against {}; cache \
             {}×, decoding {}×, prefill {}× at 16K",
            percent(keys(&rows[7])),
            percent(keys(&rows[0])),
            percent(keys(&rows[8])),
            percent(keys(&rows[9])),
            fixed(loss(&rows[7]), 3),
            fixed(loss(&rows[0]), 3),
            fixed(pace("cache bytes", "75%"), 2),
            fixed(pace("decode ms", "75%"), 2),
            fixed(pace("prefill ms", "75%"), 2)
        ),
        verdict: Verdict::of(&figures, &[kept, apart]),
        why: [
            if kept {
                "Up to three quarters of the heads stream and nothing is lost."
            } else {
                "Something is lost before three quarters of the heads stream."
            },
            if apart {
                "Which heads matters: drawn ones lose most keys."
            } else {
                "Which heads stream makes less of a difference than it should."
            },
            "The base is read inside its own window; an extension before it is not tried.",
        ]
        .join(" "),
        parts: vec![
            Part::Table(results.table(
                "heads that stream",
                &rows,
                &[Column::Home(NATIVE), Column::Keys(NATIVE), Column::Cache],
            )),
            plot(results),
            Part::Table(paces(results)),
        ],
    }
}

fn plot(results: &Results) -> Part {
    let (x, y) = (
        Axis::linear("heads that stream, %"),
        Axis { unit: context_recipe::report::Unit::Percent, ..Axis::linear("keys recalled") },
    );
    let mut plot = LinePlot::new("Keys by the share of heads that stream", x, y.within(0.0, 1.0));
    let all = results.mean(&Row::new("", "gates", "all heads"), Column::Keys(NATIVE));
    let line = |name: &str, readings: [&'static str; 3]| {
        let at = |(share, reading): (f64, &'static str)| {
            (100.0 * share, results.mean(&Row::new("", "gates", reading), Column::Keys(NATIVE)))
        };
        Series::new(name, [(0.0, all)].into_iter().chain([0.25, 0.5, 0.75].into_iter().zip(readings).map(at)))
    };
    plot.series = vec![
        line("learned", SHARES.map(|share| share.1)),
        line("drawn", SHARES.map(|share| share.2)),
        line("inverted", SHARES.map(|share| share.3)),
    ];
    Part::plot("keys", "Keys by the share of heads that stream", &plot.to_svg())
}

fn paces(results: &Results) -> Table {
    let heads = ["16K tokens, medians of turns", "full", "50%", "75%", "ratio at 75%", "original at 75%"];
    let mut table = Table::new(
        heads.into_iter().enumerate().map(|(at, head)| (head, if at == 0 { Align::Left } else { Align::Right })),
    );
    for (what, original) in [("prefill", "1.73×"), ("decode", "2.18×")] {
        let of = |plan: &str| results.value("pace", &format!("{plan}: {what} ms"));
        let words = |plan: &str| results.pace_words(plan, what);
        let ratio = format!("{}×", fixed(of("full") / of("75%"), 2));
        table.row([what.to_owned(), words("full"), words("50%"), words("75%"), ratio, original.to_owned()]);
    }
    let of = |plan: &str| results.cache_bytes(plan);
    table.row([
        "cache".to_owned(),
        results.cache_words("full"),
        results.cache_words("50%"),
        results.cache_words("75%"),
        format!("{}×", fixed(of("full") / of("75%"), 2)),
        "2.55×".to_owned(),
    ]);
    table
}
