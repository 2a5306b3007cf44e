//! What to know before choosing, in numbers that the records hold; the page begins with it, and README.md quotes it.

use std::collections::BTreeMap;

use context_recipe::report::number::{fixed, percent};

use super::arm::Work;
use super::claims::Claim;
use super::page::results;
use super::record::Record;
use super::results::{Column, Results, Row};

/// Where README.md quotes it.
pub(crate) const MARKS: [&str; 2] = ["<!-- evidence -->\n", "<!-- /evidence -->\n"];

/// The target of most claims.
const TARGET: usize = 2048;
/// Losses that count as the same, in nats.
const NEAR: f64 = 0.1;

/// A list of what is known by now.
pub(crate) fn before_choosing(claims: &[Claim], records: &[Record]) -> String {
    let of = |name: &str| {
        let claim = claims.iter().find(|claim| claim.name == name);
        claim.map_or(Results { records: vec![] }, |claim| results(claim, records))
    };
    let found = [
        recall(claims, records),
        untrained(&of("training-free")),
        short(&of("longrecipe")),
        right_heads(&of("duo-attention"), &of("longgen")),
    ];
    found.into_iter().flatten().map(|line| format!("- {line}\n")).collect()
}

/// Perplexity does not tell who recalls.
fn recall(claims: &[Claim], records: &[Record]) -> Option<String> {
    // Claims share arms: each counts once.
    let mut trained = BTreeMap::new();
    for claim in claims {
        let results = results(claim, records);
        for arm in
            claim.arms.iter().filter(|arm| matches!(&arm.work, Work::Trial(trial) if trial.plan.target == TARGET))
        {
            let row = Row::new("", arm.name.clone(), "own");
            let [loss, keys, work] =
                [Column::Last(TARGET), Column::Keys(TARGET), Column::Flops].map(|column| results.mean(&row, column));
            if work > 0.0 && loss.is_finite() {
                trained.insert(arm.digest(), (loss, keys));
            }
        }
    }
    let best = trained.values().map(|(loss, _)| *loss).fold(f64::MAX, f64::min);
    let near: Vec<f64> = trained.values().filter(|(loss, _)| *loss < best + NEAR).map(|(_, keys)| *keys).collect();
    let (low, high) = near.iter().fold((f64::MAX, f64::MIN), |(low, high), &keys| (low.min(keys), high.max(keys)));
    (near.len() > 4).then(|| {
        format!(
            "**Choose by recall, not by perplexity.** Of the arms trained to 8×, {} end within {NEAR} nats of the \
             best loss at the target; of keys hidden there they recall {} to {}.",
            near.len(),
            percent(low),
            percent(high)
        )
    })
}

/// What nothing but another way of reading gives.
fn untrained(results: &Results) -> Option<String> {
    let of = |name: &'static str, column| results.mean(&Row::new("", "8x", name).after(0), column);
    let own = of("none", Column::Home(256));
    let [chunks, groups] = ["dual_chunk, code", "self_extend"]
        .map(|name| [of(name, Column::Last(TARGET)), of(name, Column::Keys(TARGET))]);
    own.is_finite().then(|| {
        format!(
            "**Try what needs no training first.** Read at 8×, dual chunk attention (as its released program does \
             it) and SelfExtend have a loss of {} and {} ({} inside the own window) and recall {} and {} of the keys; the best law alone, YaRN, has {} and \
             {}. Training is for the recall that they lack.",
            fixed(chunks[0], 2),
            fixed(groups[0], 2),
            fixed(own, 2),
            percent(chunks[1]),
            percent(groups[1]),
            fixed(of("yarn", Column::Last(TARGET)), 2),
            percent(of("yarn", Column::Keys(TARGET)))
        )
    })
}

/// What sequences of 30 % save, and what they cost.
fn short(results: &Results) -> Option<String> {
    let of = |arm: &str, column| results.mean(&Row::new("", arm, "own"), column);
    let [full, short, paid, cream] = ["full", "longrecipe", "longrecipe-flops", "cream-flops"]
        .map(|arm| [of(arm, Column::Last(TARGET)), of(arm, Column::Keys(TARGET))]);
    let saved = 1.0 - of("longrecipe", Column::Flops) / of("full", Column::Flops);
    (cream[1] + paid[0] + short[0] + full[0]).is_finite().then(|| {
        format!(
            "**Compare at equal work.** With 30% of the length, skipped positions and equal steps, LongRecipe saves {} \
             of all training's FLOPs, and keys go from {} to {} (loss {} to {}); at as many FLOPs as full length takes \
             they are {}, and {} under CREAM's positions.",
            percent(saved),
            percent(full[1]),
            percent(short[1]),
            fixed(full[0], 3),
            fixed(short[0], 3),
            percent(paid[1]),
            percent(cream[1])
        )
    })
}

/// Which heads and layers stay full decides more than how many.
fn right_heads(duo: &Results, longgen: &Results) -> Option<String> {
    let keys = |reading: &'static str| duo.mean(&Row::new("", "gates", reading), Column::Keys(256));
    let layers = |arm: &str| longgen.mean(&Row::new("", arm, "own"), Column::Keys(TARGET));
    let figures = [
        keys("learned 75%"),
        keys("drawn 75%"),
        layers("third"),
        layers("top"),
        layers("bottom"),
        layers("interleaved"),
    ];
    figures.iter().all(|figure| figure.is_finite()).then(|| {
        let places = ["middle", "top", "bottom", "interleaved"].iter().zip(&figures[2..]);
        let places: Vec<String> = places.map(|(place, keys)| format!("{place} {}", percent(*keys))).collect();
        format!(
            "**Which heads and layers stay full decides, not how many.** A quarter of the heads recalls {} when gates \
             chose it and {} when it was drawn; two full layers of six recall, by their place: {}. Learn or measure \
             it for the model at hand.",
            percent(figures[0]),
            percent(figures[1]),
            places.join(", ")
        )
    })
}
