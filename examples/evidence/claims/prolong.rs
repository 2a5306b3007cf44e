//! ProLong (arXiv 2410.02660).

use context_recipe::plan::{Adapt, Documents, Plan, Recipe, Rope, Source, Stage};
use context_recipe::report::number::{fixed, percent};

use super::super::arm::{Arm, Reads, Trial};
use super::super::results::{Column, Results, Row};
use super::super::text::LONG;
use super::toy::{
    AWAY, COLUMNS, HOME, LR, NATIVE, TARGET, depth_plot, loss_plot, plan, reading, recipe, stage, trained,
};
use super::{Claim, Part, Shown, Verdict};

/// The base of a window of 4K: static NTK of 16.
const BASE: f64 = 190_000.0;
/// Documents that are packed: eight to a sequence, more or less.
const PACKED: usize = 512;

pub(super) fn claim() -> Claim {
    Claim {
        name: "prolong",
        title: "ProLong: a ladder of lengths, a document mask, longer than tested",
        source: "arXiv 2410.02660",
        brief: "mask 54.6, none 53.6; recall at 64K 98.5 trained at 512K, 95.0 at 64K",
        original: "Llama-3 8B at 64K: with a mask between documents 54.6 (short tasks 65.5), without 53.6 (64.9); 4 B \
                   more tokens at 512K instead of 64K bring recall at 64K from 95.0 to 98.5; 64K first, then 512K",
        setting: format!(
            "Base of 256 tokens to {TARGET}, theta {BASE:.0}, all weights learn, {HOME} steps at 256 tokens first. \
             Then the same tokens as: {AWAY} sequences of 2K; a third each at 512, 1K and 2K; half at 2K and half at \
             4K, read at 2K. And on short chronicles of {PACKED} tokens at most, packed to 2K with a mask and without \
             one."
        ),
        arms: arms(),
        show,
    }
}

fn of(target: usize, stages: Vec<Stage>) -> Recipe {
    let first = [stage(HOME, NATIVE, LR)];
    recipe(target / NATIVE)
        .rope(Rope::theta(BASE))
        .adapt(Adapt::Full)
        .train(first.into_iter().chain(stages).collect::<Vec<_>>())
}

fn next(steps: usize, length: usize) -> Stage {
    Stage { warmup: Some(0), ..stage(steps, length, LR) }
}

/// Read at the usual lengths, whatever it was trained at.
fn read(plan: Plan, text: Reads) -> Trial {
    let usual = Plan { target: TARGET, ..plan.clone() };
    Trial { text, readings: vec![reading("own", &usual)], ..trained(plan) }
}

fn arms() -> Vec<Arm> {
    let arm = |name: &str, label: &str, recipe: Recipe| Arm::trial(name, label, read(plan(recipe), Reads::Chronicles));
    let packed = |name: &str, label: &str, documents: Documents| {
        let last = Stage { documents: Some(documents), ..next(AWAY, TARGET) };
        let recipe = of(TARGET, vec![last]).data([Source::jsonl(LONG).share(1.0)]);
        Arm::trial(name, label, read(plan(recipe), Reads::Files { longest: PACKED }))
    };
    let third = AWAY / 3;
    vec![
        arm("straight", "2K at once", of(TARGET, vec![next(AWAY, TARGET)])),
        arm(
            "ladder",
            "512, 1K, 2K",
            of(TARGET, vec![next(third, 2 * NATIVE), next(third, 4 * NATIVE), next(AWAY - 2 * third, TARGET)]),
        ),
        arm("longer", "2K, then 4K", of(2 * TARGET, vec![next(AWAY / 2, TARGET), next(AWAY / 4, 2 * TARGET)])),
        packed("mask", "packed, with a mask", Documents::Mask),
        packed("joined", "packed, no mask", Documents::Joined),
    ]
}

fn show(results: &Results) -> Shown {
    let rows: Vec<Row> = arms().iter().map(|arm| Row::new(arm.label.clone(), arm.name.clone(), "own")).collect();
    let last = |at: usize| results.mean(&rows[at], Column::Last(TARGET));
    let keys = |at: usize| results.mean(&rows[at], Column::Keys(TARGET));
    let figures: Vec<f64> = (0..rows.len()).map(last).collect();
    let ladder = keys(1) > keys(0) + 0.02 || last(1) < last(0) - 0.01;
    let longer = keys(2) > keys(0) + 0.02 || last(2) < last(0) - 0.01;
    let mask = keys(3) > keys(4) + 0.02 || last(3) < last(4) - 0.01;
    let said = |holds: bool, yes: &str, no: &str| if holds { yes.to_owned() } else { no.to_owned() };
    Shown {
        ours: format!(
            "loss at 2K: at once {}, ladder {}, longer than tested {}; keys {}, {}, {}; packed with a mask {}, \
             without {} ({} and {} of the keys)",
            fixed(last(0), 3),
            fixed(last(1), 3),
            fixed(last(2), 3),
            percent(keys(0)),
            percent(keys(1)),
            percent(keys(2)),
            fixed(last(3), 3),
            fixed(last(4), 3),
            percent(keys(3)),
            percent(keys(4))
        ),
        verdict: Verdict::of(&figures, &[ladder, longer, mask]),
        why: [
            said(
                ladder,
                "A ladder of lengths helps at equal tokens.",
                "A ladder of lengths does not help at equal tokens.",
            ),
            said(
                longer,
                "Training longer than tested helps.",
                "Training longer than tested does not help at equal tokens: half of the sequences are left.",
            ),
            said(
                mask,
                "The mask helps.",
                "The mask does not help: short documents teach nothing about far distances, and without it at least \
                 positions up to 2K are met in one sequence.",
            ),
        ]
        .join(" "),
        parts: vec![
            Part::Table(results.table("trained at", &rows, &COLUMNS)),
            loss_plot(results, "Loss by position", &rows),
            depth_plot(results, "Keys by depth", &rows, TARGET),
        ],
    }
}
