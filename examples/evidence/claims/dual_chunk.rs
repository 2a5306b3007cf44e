//! Dual chunk attention (arXiv 2402.17463) and SelfExtend (arXiv 2401.01325), untrained.

use context_recipe::plan::{Attention, Form, Plan, Recipe, Rope, presets};
use context_recipe::report::number::{fixed, percent};
use context_recipe::report::{Axis, LinePlot, Series};

use super::super::arm::{Arm, Reading};
use super::super::results::{Column, Results, Row};
use super::toy::{NATIVE, plan, reading, untrained};
use super::{Claim, Part, Shown, Verdict};

const SCALES: [usize; 3] = [2, 4, 8];
const NAMES: [&str; 7] = ["none", "interpolate", "ntk", "yarn", "dual_chunk", "dual_chunk, code", "self_extend"];
/// SelfExtend's exact neighbours: a quarter of the window, as 1024 of Llama-2's 4096.
const NEAR: usize = 64;

pub(super) fn claim() -> Claim {
    let arm = |scale: usize| {
        let readings = NAMES.map(|name| Reading { name: name.to_owned(), ..reading(name, &of(name, scale)) });
        Arm::trial(&format!("{scale}x"), &format!("untrained, {scale}×"), untrained(readings.into()))
    };
    Claim {
        name: "training-free",
        title: "Dual chunk attention and SelfExtend read farther without training",
        source: "arXiv 2402.17463, 2401.01325",
        brief: "untrained perplexity at 8×: dual chunks 7.9, YaRN 42, NTK 59, interpolated over 100",
        original: "Llama-2 7B of 4K, untrained, perplexity of PG19 at 8K, 16K, 32K: dual chunks 7.67, 7.64, 7.89; \
                   interpolated 9.19, 15.11, over 100; NTK 11.98, 26.12, 58.91; YaRN 9.82, 11.74, 41.57. SelfExtend \
                   at 32K in LCEG: perplexity 6.1, needles 25.8 (NTK trained: 5.8, 83.7)",
        setting: "Base of 256 tokens at 2, 4 and 8 times that, nothing trained. Dual chunks of 192 tokens with 64 \
                  exact behind a border (paper), or by the released program; SelfExtend with 64 exact neighbours and \
                  the smallest group (4, 8, 16) that reaches the target."
            .to_owned(),
        arms: SCALES.map(arm).into(),
        show,
    }
}

fn of(name: &str, scale: usize) -> Plan {
    let recipe = Recipe::new(presets::tiny(), scale * NATIVE);
    let factor = scale as f64;
    plan(match name {
        "interpolate" => recipe.rope(Rope::interpolate(factor)),
        "ntk" => recipe.rope(Rope::ntk(factor)),
        "yarn" => recipe.rope(Rope::yarn(factor)),
        "dual_chunk" => recipe.attention(Attention::DualChunk { chunk: None, local: None, form: None }),
        "dual_chunk, code" => {
            recipe.attention(Attention::DualChunk { chunk: None, local: None, form: Some(Form::Code) })
        }
        "self_extend" => recipe.attention(Attention::SelfExtend { group: 2 * scale, window: NEAR }),
        _ => recipe,
    })
}

fn row(name: &'static str, scale: usize) -> Row {
    Row::new(name, format!("{scale}x"), name).after(0)
}

fn show(results: &Results) -> Shown {
    let last = |name, scale: usize| results.mean(&row(name, scale), Column::Last(scale * NATIVE));
    let keys = |name, scale: usize| results.mean(&row(name, scale), Column::Keys(scale * NATIVE));
    let own = results.mean(&row("none", 2), Column::Home(NATIVE));
    let figures: Vec<f64> = SCALES.iter().flat_map(|&scale| NAMES.map(|name| last(name, scale))).collect();
    let laws =
        |scale| ["interpolate", "ntk", "yarn"].map(|name| last(name, scale)).into_iter().fold(f64::MAX, f64::min);
    let chunks =
        SCALES.iter().all(|&scale| last("dual_chunk", scale) < laws(scale) && last("dual_chunk", scale) < own + 0.1);
    let groups =
        SCALES.iter().all(|&scale| last("self_extend", scale) < laws(scale) && last("self_extend", scale) < own + 0.1);
    let list = |name, of: &dyn Fn(&'static str, usize) -> String| SCALES.map(|scale| of(name, scale)).join(", ");
    let recalls = |name| list(name, &|name, scale| percent(keys(name, scale)));
    Shown {
        ours: format!(
            "loss at 8×: dual chunks {}, SelfExtend {}, YaRN {}, NTK {}, interpolated {} ({} in the own window); keys \
             {} and {}",
            fixed(last("dual_chunk", 8), 2),
            fixed(last("self_extend", 8), 2),
            fixed(last("yarn", 8), 2),
            fixed(last("ntk", 8), 2),
            fixed(last("interpolate", 8), 2),
            fixed(own, 2),
            percent(keys("dual_chunk", 8)),
            percent(keys("self_extend", 8))
        ),
        verdict: Verdict::of(&figures, &[chunks, groups]),
        why: format!(
            "{} {} Recall falls with the length ({} and {}): far chunks share their positions, so a name is found but \
             not which of several.",
            if chunks {
                "Dual chunks keep the loss of the own window at all scales, and beat every law."
            } else {
                "Dual chunks do not keep the own window's loss at all scales."
            },
            if groups { "SelfExtend does too." } else { "SelfExtend does not at all scales." },
            recalls("dual_chunk"),
            recalls("self_extend")
        ),
        parts: SCALES.into_iter().rev().map(|scale| table(results, scale)).chain([plot(results)]).collect(),
    }
}

fn table(results: &Results, scale: usize) -> Part {
    let target = scale * NATIVE;
    let columns = [
        Column::Home(target),
        Column::Last(target / 2),
        Column::Last(target),
        Column::Keys(target / 2),
        Column::Keys(target),
    ];
    Part::Table(results.table(&format!("untrained, {scale}×"), &NAMES.map(|name| row(name, scale)), &columns))
}

fn plot(results: &Results) -> Part {
    let (x, y) = (Axis::linear("position").tokens(), Axis::linear("loss, nats per token").within(0.5, 8.0));
    let mut plot = LinePlot::new("Loss by position, nothing trained", x, y);
    plot.series = NAMES.map(|name| results.curve(&row(name, 8), 8 * NATIVE)).into_iter().collect::<Vec<Series>>();
    Part::plot("loss", "Loss by position, nothing trained", &plot.to_svg())
}
