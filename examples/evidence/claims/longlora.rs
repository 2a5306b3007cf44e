//! LongLoRA (arXiv 2309.12307).

use context_recipe::plan::{Adapt, Attention, Rope};
use context_recipe::report::number::{fixed, percent};

use super::super::arm::{Arm, Reads, Trial};
use super::super::results::{Column, Results, Row};
use super::toy::{COLUMNS, LR_LORA, SCALE, TARGET, full, interpolate, loss_plot, plan, stages, trained};
use super::{Claim, Part, Shown, Verdict};

/// What trains, where its queries look, under which law.
struct Variant {
    name: &'static str,
    label: &'static str,
    adapt: Adapt,
    groups: Groups,
    yarn: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Groups {
    Full,
    Shifted,
    Still,
}

fn variants() -> Vec<Variant> {
    let plain = || Adapt::lora(8, 16.0);
    let both = || plain().with_embed().with_norm();
    let of = |name, label, adapt, groups, yarn| Variant { name, label, adapt, groups, yarn };
    vec![
        of("full", "full attention, embedding and norms", both(), Groups::Full, false),
        of("shifted", "shifted groups, embedding and norms", both(), Groups::Shifted, false),
        of("still", "groups without a shift, embedding and norms", both(), Groups::Still, false),
        of("full-embed", "full attention, embedding", plain().with_embed(), Groups::Full, false),
        of("full-norm", "full attention, norms", plain().with_norm(), Groups::Full, false),
        of("full-plain", "full attention, adapters alone", plain(), Groups::Full, false),
        of("shifted-plain", "shifted groups, adapters alone", plain(), Groups::Shifted, false),
        of("yarn-full", "yarn: full attention, embedding and norms", both(), Groups::Full, true),
        of("yarn-shifted", "yarn: shifted groups, embedding and norms", both(), Groups::Shifted, true),
        of("yarn-still", "yarn: groups without a shift", both(), Groups::Still, true),
    ]
}

fn arm(variant: Variant) -> Arm {
    let Variant { name, label, adapt, groups, yarn } = variant;
    let rope = if yarn { Rope::yarn(SCALE as f64) } else { interpolate() };
    let mut recipe = full(rope, SCALE).adapt(adapt).train(stages(SCALE, LR_LORA));
    if groups == Groups::Shifted {
        // The steps at home are shorter than a group: full attention.
        recipe = recipe.attention(Attention::ShiftedGroups { group: None }).allow("group_does_not_divide");
    }
    let text = if groups == Groups::Still { Reads::Groups { size: TARGET / 4 } } else { Reads::Chronicles };
    Arm::trial(name, label, Trial { text, ..trained(plan(recipe)) })
}

pub(super) fn claim() -> Claim {
    Claim {
        name: "longlora",
        title: "LongLoRA: shifted groups train what full attention uses",
        source: "arXiv 2309.12307",
        brief: "perplexity at 32K: full 8.04, shifted 8.08, no shift 9.47; adapters alone 11.4",
        original: "Llama-2 7B at 8K, 16K, 32K: perplexity 8.02, 8.05, 8.04 in full, 8.04, 8.03, 8.08 in shifted \
                   groups, 8.29, 8.83, 9.47 in groups without a shift. At 32K: all weights 8.08, adapters 11.44, with \
                   norms 10.49, with embedding 8.29, with both 8.12",
        setting: format!(
            "Base of 256 tokens to {TARGET}, adapters of rank 8 and alpha 16 at 8e-3, the usual 200 steps, groups of \
             a quarter ({}). Evaluated in full. Interpolated as in the original, and under YaRN, which leaves near \
             angles alone.",
            TARGET / 4
        ),
        arms: variants().into_iter().map(arm).collect(),
        show,
    }
}

fn show(results: &Results) -> Shown {
    let rows: Vec<Row> = variants().iter().map(|variant| Row::new(variant.label, variant.name, "own")).collect();
    // What has room beside a curve.
    let short = |row: &Row| Row { label: row.arm.replace('-', ", ").replace("still", "no shift"), ..row.clone() };
    let drawn: Vec<Row> = rows[..3].iter().chain(&rows[7..]).map(short).collect();
    let row = |name: &str| rows.iter().find(|row| row.arm == name).unwrap_or(&rows[0]);
    let last = |name: &str| results.mean(row(name), Column::Last(TARGET));
    let keys = |name: &str| results.mean(row(name), Column::Keys(TARGET));
    let figures: Vec<f64> = rows.iter().map(|row| results.mean(row, Column::Last(TARGET))).collect();
    let groups = last("shifted") < last("full") + 0.1;
    // Where both arms are lost, how lost says nothing.
    let shift = last("yarn-shifted") < last("yarn-still") - 0.05;
    let needed = last("full-plain") > last("full") + 0.05;
    let said = |holds: bool, yes: &str, no: &str| if holds { yes.to_owned() } else { no.to_owned() };
    Shown {
        ours: format!(
            "loss in full {}, shifted {}, no shift {} (under YaRN {}, {}, {}); adapters alone {}",
            fixed(last("full"), 2),
            fixed(last("shifted"), 2),
            fixed(last("still"), 2),
            fixed(last("yarn-full"), 2),
            fixed(last("yarn-shifted"), 2),
            fixed(last("yarn-still"), 2),
            fixed(last("full-plain"), 2)
        ),
        verdict: Verdict::of(&figures, &[groups, shift, needed]),
        why: [
            said(
                groups,
                "Shifted groups end where full attention does.",
                &format!(
                    "Shifted groups do not carry over: keys {} against {}. No query sees farther than a group in \
                     training, and what no group shows is never learned; LongLoRA's base nearly works under \
                     interpolation before any training (perplexity 16 at 8K), this one is lost. Under YaRN, which \
                     leaves this base half working, keys are {} against {}.",
                    percent(keys("shifted")),
                    percent(keys("full")),
                    percent(keys("yarn-shifted")),
                    percent(keys("yarn-full"))
                ),
            ),
            said(
                shift,
                "The shift matters.",
                &format!(
                    "With a shift or without, groups end alike: lost under interpolation, and under YaRN at {} and {} \
                     (keys {} and {}).",
                    fixed(last("yarn-shifted"), 2),
                    fixed(last("yarn-still"), 2),
                    percent(keys("yarn-shifted")),
                    percent(keys("yarn-still"))
                ),
            ),
            said(needed, "Adapters alone are not enough.", "Adapters alone are enough here."),
            "The kernel is not the reason: logits and gradients of shifted groups equal PyTorch's.".to_owned(),
        ]
        .join(" "),
        parts: vec![
            Part::Table(results.table("training", &rows, &COLUMNS)),
            loss_plot(results, "Loss by position, read in full", &drawn),
        ],
    }
}
