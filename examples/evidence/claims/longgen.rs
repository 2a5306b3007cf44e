//! LongGen (arXiv 2410.01485).

use context_recipe::plan::{Attention, FullLayers, Place, Plan, Recipe, Rope, Sparse, Strided, Window, presets};
use context_recipe::report::number::{fixed, percent};
use context_recipe::report::{Align, Table};

use super::super::arm::{Arm, Pace, Work};
use super::super::results::{Column, Results, Row};
use super::toy::{
    COLUMNS, NATIVE, SCALE, TARGET, depth_plot, full, interpolate, interpolated, loss_plot, plan, trained,
};
use super::{Claim, Part, Shown, Verdict};

/// Tokens of the kernel's blocks at this size.
const BLOCK: usize = 16;
/// What the sparse layers see: half of the model's own window, as in the original.
const SEEN: usize = 128;
/// Tokens at which paces are measured.
const FAR: usize = 16_384;

fn window() -> Sparse {
    Sparse::Window(Window { window: SEEN, sink: Some(4), block: Some(BLOCK) })
}

/// As many tokens: four near blocks, and every 32nd of 128.
fn strided() -> Sparse {
    Sparse::Strided(Strided { stride: 32, local: Some(4), block: Some(BLOCK) })
}

fn hybrid(full: usize, place: Place, sparse: Sparse) -> Attention {
    Attention::Hybrid { full: FullLayers::Count(full), place: Some(place), sparse }
}

/// Arm, label, attention.
fn hybrids() -> [(&'static str, &'static str, Attention); 8] {
    [
        ("third", "2 full, middle", hybrid(2, Place::Middle, window())),
        ("strided", "2 full, strided", hybrid(2, Place::Middle, strided())),
        ("top", "2 full, top", hybrid(2, Place::Top, window())),
        ("bottom", "2 full, bottom", hybrid(2, Place::Bottom, window())),
        ("interleaved", "2 full, spread", hybrid(2, Place::Interleaved, window())),
        ("half", "3 full, middle", hybrid(3, Place::Middle, window())),
        ("sixth", "1 full, middle", hybrid(1, Place::Middle, window())),
        ("none", "none full", Attention::Sparse(window())),
    ]
}

pub(super) fn claim() -> Claim {
    let arm = |(name, label, attention): (&str, &str, Attention)| {
        Arm::trial(name, label, trained(plan(full(interpolate(), SCALE).attention(attention))))
    };
    Claim {
        name: "longgen",
        title: "LongGen: a third of the layers full is enough",
        source: "arXiv 2410.01485",
        brief: "a third full: all needles; step 1.55×, prefill 1.67×, decoding 1.41×, cache −62%",
        original: "Llama-2 7B to 128K, 12 of 32 layers full in the middle: all needles; training 1.55×, prefill \
                   1.67×, decoding 1.41× as fast, key/value cache −62%. Middle far better than top, bottom or \
                   interleaved; 1/16 full collapses, 1/5 is usable; window with sinks and strided blocks about the \
                   same",
        setting: format!(
            "Base of 256 tokens to {TARGET}, interpolated, all weights learn, the usual 200 steps. Sparse layers see \
             {SEEN} tokens and 4 sinks. The base has six layers, so a share of 1/16 is none. Paces at 16K tokens with \
             a window of 256 (1.6% of the text, as in the original), where attention is most of the work."
        ),
        arms: [interpolated("full", "full")].into_iter().chain(hybrids().map(arm)).chain([pace()]).collect(),
        show,
    }
}

/// Full against a third, at a length where it matters.
fn pace() -> Arm {
    let of = |attention: Option<Attention>| -> Plan {
        let recipe = Recipe::new(presets::tiny(), FAR).rope(Rope::interpolate((FAR / NATIVE) as f64));
        plan(attention.into_iter().fold(recipe, Recipe::attention))
    };
    let seen = Sparse::Window(Window { window: 256, sink: Some(16), block: Some(64) });
    let plans = vec![("full".to_owned(), of(None)), ("third".to_owned(), of(Some(hybrid(2, Place::Middle, seen))))];
    let work = Work::Pace(Pace { plans, length: FAR, turns: 5, step: true });
    Arm { name: "pace".to_owned(), label: "full and a third, clocked".to_owned(), work }
}

fn rows() -> Vec<Row> {
    let hybrids = hybrids().map(|(name, label, _)| Row::new(label, name, "own"));
    [Row::new("full", "full", "own")].into_iter().chain(hybrids).collect()
}

fn show(results: &Results) -> Shown {
    let rows = rows();
    let last = |at: usize| results.mean(&rows[at], Column::Last(TARGET));
    let keys = |at: usize| results.mean(&rows[at], Column::Keys(TARGET));
    let paces = ["step", "prefill", "decode"].map(|what| ratio(results, what));
    let cache = 1.0 - results.value("pace", "third: cache bytes") / results.value("pace", "full: cache bytes");
    let figures: Vec<f64> = (0..rows.len()).map(last).collect();
    let kept = last(1) - last(0) < 0.05 && keys(0) - keys(1) < 0.1;
    let middle = (3..=5).all(|at| keys(1) >= keys(at));
    let alike = (last(1) - last(2)).abs() < 0.05 && (keys(1) - keys(2)).abs() < 0.1;
    let falls = keys(8) < keys(1) - 0.3;
    // Paces wait for a machine at rest, and the rest of the verdict does not wait for them.
    let clocked = paces.iter().all(|pace| pace.is_finite());
    let faster = paces.iter().zip([1.55, 1.67, 1.41]).all(|(ours, theirs)| *ours >= theirs);
    let holds = [kept, middle, alike, falls].into_iter().chain(clocked.then_some(faster)).collect::<Vec<_>>();
    let said = |holds: bool, yes: &str, no: &str| if holds { yes.to_owned() } else { no.to_owned() };
    Shown {
        ours: format!(
            "loss {} against {}, keys {} against {}; step {}×, prefill {}×, decoding {}× as fast at 16K, cache −{}",
            fixed(last(1), 3),
            fixed(last(0), 3),
            percent(keys(1)),
            percent(keys(0)),
            fixed(paces[0], 2),
            fixed(paces[1], 2),
            fixed(paces[2], 2),
            percent(cache)
        ),
        verdict: Verdict::of(&figures, &holds),
        why: [
            said(kept, "A third of the layers keeps loss and recall.", "A third of the layers loses something."),
            format!(
                "{} (keys: middle {}, top {}, bottom {}, spread {}); but this base learned to look far in its middle \
                 layers, and where a model looks far decides.",
                if middle { "The middle is the best place" } else { "The middle is not the best place" },
                percent(keys(1)),
                percent(keys(3)),
                percent(keys(4)),
                percent(keys(5))
            ),
            said(
                alike,
                "Window and strided blocks are about the same.",
                &format!("Strided blocks recall {}, windows {}.", percent(keys(2)), percent(keys(1))),
            ),
            said(falls, "Without a full layer recall is gone.", "Recall stays even without a full layer."),
            match (clocked, faster) {
                (false, _) => "The paces are not measured yet.".to_owned(),
                (_, true) => "All three paces are at least the original's.".to_owned(),
                _ => "Not all paces reach the original's; they depend on how much of the work is attention.".to_owned(),
            },
        ]
        .join(" "),
        parts: vec![
            Part::Table(results.table("layers", &rows, &[&COLUMNS[..], &[Column::Cache]].concat())),
            loss_plot(results, "Loss by position, full and sparse layers", &[&rows[..2], &rows[6..]].concat()),
            depth_plot(results, "Keys by depth", &rows, TARGET),
            Part::Table(pace_table(results)),
        ],
    }
}

fn ratio(results: &Results, what: &str) -> f64 {
    results.value("pace", &format!("full: {what} ms")) / results.value("pace", &format!("third: {what} ms"))
}

fn pace_table(results: &Results) -> Table {
    let heads = ["16K tokens, medians of turns", "full", "a third", "ratio", "original"];
    let mut table = Table::new(
        heads.into_iter().enumerate().map(|(at, head)| (head, if at == 0 { Align::Left } else { Align::Right })),
    );
    for (what, original) in [("step", "1.55×"), ("prefill", "1.67×"), ("decode", "1.41×")] {
        table.row([
            what.to_owned(),
            results.pace_words("full", what),
            results.pace_words("third", what),
            format!("{}×", fixed(ratio(results, what), 2)),
            original.to_owned(),
        ]);
    }
    let of = |plan: &str| results.cache_bytes(plan);
    table.row([
        "cache".to_owned(),
        results.cache_words("full"),
        results.cache_words("third"),
        format!("−{}", percent(1.0 - of("third") / of("full"))),
        "−62%".to_owned(),
    ]);
    table
}
