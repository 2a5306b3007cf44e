//! NTK, YaRN and LongRoPE's search against interpolation.

use context_recipe::plan::{Plan, Recipe, Rope, Stage};
use context_recipe::report::number::{fixed, percent};
use context_recipe::report::{Align, Axis, LinePlot, Series, Table};

use super::super::arm::{Arm, Search, Trial};
use super::super::results::{Column, Results, Row};
use super::toy::{HOME, LR, NATIVE, TARGET, plan, reading, recipe, stage, trained};
use super::{Claim, Part, Shown, Verdict};

const SCALES: [usize; 4] = [4, 8, 16, 32];
/// Tokens read at the target, at every scale.
const AWAY: usize = 64 * TARGET;

pub(super) fn claim() -> Claim {
    let arms = SCALES.into_iter().flat_map(|scale| {
        laws(scale as f64).into_iter().map(move |(name, rope)| arm(name, rope, scale)).chain([searched(scale)])
    });
    Claim {
        name: "rope-laws",
        title: "YaRN, NTK and searched factors extend better than interpolation",
        source: "arXiv 2309.00071, 2402.13753, 2409.12181",
        brief: "perplexity past the tuned length: YaRN 6.0, interpolated 8.1; needles at 32K: NTK 84%, YaRN 47%, \
                interpolated 42%",
        original: "YaRN: Llama-2 7B at 128K 2.37 perplexity and 99.4% of keys after 400 + 200 steps; at 10K of a \
                   model tuned to 8K 6.04 against 8.07 interpolated. LongRoPE: 2048K with searched factors. One \
                   training for all (LCEG, 32K): needles NTK 83.7, YaRN 46.7, interpolated 42.1",
        setting: "Base of 256 tokens to 4, 8, 16 and 32 times that, all weights learn: 100 steps at 256 tokens, then the same \
                  number of tokens at each target (64 sequences of 2048, 16 of 8192). LongRoPE's factors are searched \
                  before training: 12 lists, 6 rounds (the paper: 64 and 40)."
            .to_owned(),
        arms: arms.collect(),
        show,
    }
}

fn laws(scale: f64) -> [(&'static str, Rope); 3] {
    [("interpolate", Rope::interpolate(scale)), ("ntk", Rope::ntk(scale)), ("yarn", Rope::yarn(scale))]
}

fn of(rope: Rope, scale: usize) -> Recipe {
    let away = stage((AWAY / (scale * NATIVE)).min(64), scale * NATIVE, LR);
    recipe(scale).rope(rope).train([stage(HOME, NATIVE, LR), Stage { warmup: Some(0), ..away }])
}

/// Read before and after.
fn both(plan: Plan) -> Trial {
    let trial = trained(plan);
    Trial { after: vec![0, trial.after[0]], ..trial }
}

fn arm(name: &str, rope: Rope, scale: usize) -> Arm {
    Arm::trial(&format!("{name}-{scale}x"), &format!("{name}, {scale}×"), both(plan(of(rope, scale))))
}

/// The plan's own law is YaRN until the search has found its factors.
fn searched(scale: usize) -> Arm {
    let plan = plan(of(Rope::yarn(scale as f64), scale));
    let documents = if scale > 8 { 1 } else { 2 };
    let search = Search { population: 12, iterations: 6, documents };
    let trial = Trial { search: Some(search), readings: vec![reading("own", &plan)], ..both(plan) };
    Arm::trial(&format!("longrope-{scale}x"), &format!("longrope, {scale}×"), trial)
}

const NAMES: [&str; 4] = ["interpolate", "ntk", "yarn", "longrope"];

fn row(name: &str, scale: usize) -> Row {
    Row::new(name, format!("{name}-{scale}x"), "own")
}

fn show(results: &Results) -> Shown {
    let last = |name: &str, scale: usize| results.mean(&row(name, scale), Column::Last(scale * NATIVE));
    let keys = |name: &str, scale: usize| results.mean(&row(name, scale), Column::Keys(scale * NATIVE));
    let raw = |name: &str, scale: usize| results.mean(&row(name, scale).after(0), Column::Last(scale * NATIVE));
    let figures: Vec<f64> = SCALES.iter().flat_map(|&scale| NAMES.map(|name| last(name, scale))).collect();
    let wins =
        |name: &str, better: &dyn Fn(&str, usize) -> bool| SCALES.iter().filter(|&&scale| better(name, scale)).count();
    let by_loss = |name: &str, scale: usize| last(name, scale) < last("interpolate", scale);
    let by_keys = |name: &str, scale: usize| keys(name, scale) > keys("interpolate", scale);
    let counts = ["ntk", "yarn", "longrope"].map(|name| (name, wins(name, &by_loss), wins(name, &by_keys)));
    let untrained = SCALES
        .iter()
        .filter(|&&s| raw("longrope", s) < NAMES[..3].iter().map(|n| raw(n, s)).fold(f64::MAX, f64::min))
        .count();
    let holds: Vec<bool> = counts.iter().map(|(_, loss, _)| *loss >= 3).collect();
    let words = counts.map(|(name, loss, keys)| format!("{name} {loss} by loss, {keys} by keys"));
    let at = |scale: usize| NAMES.map(|name| format!("{name} {}", fixed(last(name, scale), 3))).join(", ");
    Shown {
        ours: format!(
            "loss at 32×: {}; keys {}",
            at(32),
            NAMES.map(|name| format!("{name} {}", percent(keys(name, 32)))).join(", ")
        ),
        verdict: Verdict::of(&figures, &holds),
        why: format!(
            "Of four scales each law beats interpolation at: {}. Untrained, the searched factors are better than all \
             three laws at {untrained} of 4 scales. Laws that leave near angles alone keep what this base does first, \
             a look one token back, and have only the far angles to learn; interpolation has to learn both, and does, \
             which is why the gap is widest before training.",
            words.join("; ")
        ),
        parts: vec![Part::Table(table(results)), plot(results, "trained", None), plot(results, "untrained", Some(0))],
    }
}

fn table(results: &Results) -> Table {
    let heads = ["", "untrained: last quarter", "keys", "trained: last quarter", "keys", "first 256"];
    let mut table = Table::new(
        heads.into_iter().enumerate().map(|(at, head)| (head, if at == 0 { Align::Left } else { Align::Right })),
    );
    for scale in SCALES {
        for name in NAMES {
            let (row, target) = (row(name, scale), scale * NATIVE);
            let cell = |row: &Row, column| results.cell(row, column);
            let (last, keys) = (Column::Last(target), Column::Keys(target));
            let before = row.clone().after(0);
            table.row([
                format!("{name}, {scale}×"),
                cell(&before, last),
                cell(&before, keys),
                cell(&row, last),
                cell(&row, keys),
                cell(&row, Column::Home(target)),
            ]);
        }
    }
    table
}

fn plot(results: &Results, name: &str, steps: Option<usize>) -> Part {
    let (x, y) = (Axis::log("target").tokens(), Axis::linear("loss of the last quarter, nats per token"));
    let title = format!("Loss at the target, {name}");
    let mut plot = LinePlot::new(title.clone(), x, y);
    let at = |law: &str, scale: usize| {
        let row = Row { steps, ..row(law, scale) };
        ((scale * NATIVE) as f64, results.mean(&row, Column::Last(scale * NATIVE)))
    };
    plot.series = NAMES.map(|law| Series::new(law, SCALES.map(|scale| at(law, scale)))).into();
    Part::plot(name, &title, &plot.to_svg())
}
