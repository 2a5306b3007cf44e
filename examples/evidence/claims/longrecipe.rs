//! LongRecipe (arXiv 2409.00509).

use context_recipe::plan::{
    Adapt, Merge, Plan, Positions, PositionsPlan, Recipe, Rope, Select, Source, Stage, StageKind, TokenType, presets,
};
use context_recipe::report::number::{duration, fixed, percent};
use context_recipe::report::{Align, Axis, LinePlot, Mark, Table};

use super::super::arm::{Arm, Long, Reads, Trial, Work};
use super::super::real::SPENT;
use super::super::results::{Column, Results, Row};
use super::super::text::{LONG, SELECTED, SHORT};
use super::toy::{
    AWAY, COLUMNS, HOME, LR, NATIVE, TARGET, depth_plot, full, interpolate, interpolated, loss_plot, plan, recipe,
    stage, trained,
};
use super::{Claim, Part, Shown, Verdict};

/// Tokens of a sequence: 30 % of the target.
const KEPT: usize = TARGET * 3 / 10;

fn schemes() -> [(&'static str, Positions); 5] {
    [
        ("longrecipe", Positions::LongRecipe { keep: None }),
        ("pose", Positions::Pose { chunks: None, form: None }),
        ("cream", Positions::Cream { sigma: None }),
        ("random", Positions::Random),
        ("e2", Positions::E2 { scale_max: None }),
    ]
}

pub(super) fn claim() -> Claim {
    let equal = schemes().map(|(name, positions)| arm(name, positions, AWAY));
    let dear = schemes().map(|(name, positions)| arm(&format!("{name}-flops"), positions, affordable(positions)));
    let first = [interpolated("full", "full length")];
    Claim {
        name: "longrecipe",
        title: "LongRecipe: 30% of the target length trains all of it",
        source: "arXiv 2409.00509",
        brief: "needles 79% on 30% of the length (full 82%, PoSE 69%, random 72%), 85% less compute",
        original: "Llama-3 8B to 80K on 24K: needles 78.9 against 82.3 at full length, 68.8 PoSE, 71.8 random \
                   positions; RULER 74.5, 75.7, 69.9, 71.4; 85% less compute; without selection 71.9. Replay, then a \
                   merge with the base, brings GSM8K from 42.7 to 57.9 (71.4 untouched)",
        setting: format!(
            "Base of 256 tokens to {TARGET}, interpolated, all weights learn: {HOME} steps at 256 tokens, the same \
             for all, then {AWAY} sequences of {TARGET} tokens, or of {KEPT} with skipped positions; and once more as \
             many of these as {AWAY} full sequences cost. Selection, replay and merge read chronicles from files."
        ),
        arms: first.into_iter().chain(equal).chain(dear).chain(extras()).chain([real()]).collect(),
        show,
    }
}

/// After getting used to the law at home, in the positions that it always had.
fn skipping(recipe: Recipe, positions: Positions) -> Plan {
    let mut plan = plan(recipe.positions(positions));
    let home = &mut plan.stages.to_mut()[0];
    (home.positions, home.reach) = (PositionsPlan::Contiguous, NATIVE);
    plan
}

fn short(steps: usize) -> Stage {
    Stage { warmup: Some(0), batch: Some(1), ..stage(steps, KEPT, LR) }
}

fn trial(positions: Positions, steps: usize) -> Trial {
    let recipe = full(interpolate(), TARGET / NATIVE).train([stage(HOME, NATIVE, LR), short(steps)]);
    trained(skipping(recipe, positions))
}

fn arm(name: &str, positions: Positions, steps: usize) -> Arm {
    let label = format!("{}, {steps} steps", name.trim_end_matches("-flops"));
    Arm::trial(name, &label, trial(positions, steps))
}

/// As many steps as full-length training's cost.
fn affordable(positions: Positions) -> usize {
    let dear = plan(full(interpolate(), TARGET / NATIVE)).flops().stages[1].total;
    let cheap = trial(positions, 1).plan.flops().stages[1].step;
    (dear / cheap).round() as usize
}

/// From files: as it is, wanted sentences alone, with half of the others (as the released program keeps them), with a
/// replay behind that, and merged behind that.
fn extras() -> [Arm; 5] {
    let text = || Source::jsonl(LONG).share(1.0);
    let types = vec![TokenType::Num, TokenType::Pron, TokenType::Aux];
    let select = |keep| Some(Select::Impactful { types: Some(types.clone()), keep, form: None });
    let half = || select(Some(0.5));
    let replay = |merge| Stage {
        kind: StageKind::Replay,
        data: vec![Source::jsonl(SHORT).share(1.0)],
        merge,
        ..stage(HOME / 2, NATIVE, LR / 4.0)
    };
    let of = |name: &str, label: &str, select: Option<Select>, last: Option<Stage>| {
        let stages = [stage(HOME, NATIVE, LR), short(AWAY)].into_iter().chain(last).collect::<Vec<_>>();
        let recipe = recipe(TARGET / NATIVE).rope(interpolate()).adapt(Adapt::Full).data([text()]).train(stages);
        let recipe = select.into_iter().fold(recipe, Recipe::select);
        let plan = skipping(recipe, Positions::LongRecipe { keep: None });
        Arm::trial(name, label, Trial { text: Reads::Files { longest: TARGET }, ..trained(plan) })
    };
    [
        of("files", "longrecipe, from files", None, None),
        of("alone", "selected, nothing else", select(None), None),
        of("selected", "selected, half of the rest", half(), None),
        of("replay", "selected, replay", half(), Some(replay(None))),
        of("merged", "selected, replay, merge", half(), Some(replay(Some(Merge { base: Some(0.5), form: None })))),
    ]
}

/// Trained on.
const NOVELS: &[&str] = &["emma.txt", "mansfieldpark.txt", "northangerabbey.txt", "sensesensibility.txt"];
const REAL_TARGET: usize = 16_384;

fn real() -> Arm {
    let data: Vec<Source> =
        NOVELS.iter().map(|novel| Source::text(*novel).share(0.225)).chain([Source::passkey().share(0.1)]).collect();
    let last = Stage {
        warmup: Some(10),
        batch: Some(1),
        recompute: Some(false),
        ..Stage::extend(400, REAL_TARGET * 3 / 10, 2e-4)
    };
    let recipe = Recipe::new(presets::smollm2_135m(), REAL_TARGET)
        .rope(Rope::theta(theta(100_000.0, 2.0, 64.0)))
        .positions(Positions::LongRecipe { keep: Some(0.3) })
        .adapt(Adapt::lora(16, 32.0).with_embed().with_norm())
        .data(data)
        .train([last]);
    let work = Long { plan: plan(recipe), novels: NOVELS, lengths: vec![8192, REAL_TARGET], exams: 2 };
    Arm {
        name: "smollm2".to_owned(), label: "★ SmolLM2-135M, 8K to 16K".to_owned(), work: Work::Long(Box::new(work))
    }
}

/// The dynamic NTK formula at the target, as the paper sets its base.
fn theta(base: f64, scale: f64, head_dim: f64) -> f64 {
    (base * (scale * scale - (scale - 1.0)).powf(head_dim / (head_dim - 2.0))).round()
}

fn equal() -> Vec<Row> {
    let labels = schemes().map(|(name, _)| Row::new(name, name, "own"));
    [Row::new("full length", "full", "own")].into_iter().chain(labels).collect()
}

fn costly() -> Vec<Row> {
    schemes()
        .map(|(name, positions)| {
            Row::new(format!("{name}, {} steps", affordable(positions)), format!("{name}-flops"), "own")
        })
        .into()
}

fn show(results: &Results) -> Shown {
    let (rows, dear) = (equal(), costly());
    let last = |row: &Row| results.mean(row, Column::Last(TARGET));
    let keys = |row: &Row| results.mean(row, Column::Keys(TARGET));
    let (whole, ours, rivals) = (&rows[0], &rows[1], &rows[2..]);
    let figures: Vec<f64> = rows.iter().chain(&dear).map(last).collect();
    let flops = |arm: &Row| results.mean(arm, Column::Flops);
    let home = flops(whole) - away_flops();
    let saved = 1.0 - (flops(ours) - home) / away_flops();
    let beats = rivals.iter().all(|row| keys(ours) >= keys(row) - 0.02);
    let near = last(ours) - last(whole) < 0.05 && keys(whole) - keys(ours) < 0.1;
    let paid = last(&dear[0]) - last(whole) < 0.05 && keys(whole) - keys(&dear[0]) < 0.1;
    let time = |row: &Row| results.mean(row, Column::Time);
    Shown {
        ours: format!(
            "keys {} against {} at full length, {}; {} of the long steps' FLOPs saved; at equal FLOPs {}",
            percent(keys(ours)),
            percent(keys(whole)),
            rivals.iter().map(|row| format!("{} {}", percent(keys(row)), row.label)).collect::<Vec<_>>().join(", "),
            percent(saved),
            percent(keys(&dear[0]))
        ),
        verdict: Verdict::of(&figures, &[beats, near, paid, saved > 0.8]),
        why: words(results, [beats, near, paid], saved, [time(ours), time(whole)], [ours, whole, &dear[0]]),
        parts: parts(results, &rows, &dear),
    }
}

/// Of the long stage at full length.
fn away_flops() -> f64 {
    plan(full(interpolate(), TARGET / NATIVE)).flops().stages[1].total
}

fn words(
    results: &Results,
    [beats, near, paid]: [bool; 3],
    saved: f64,
    [ours, whole]: [f64; 2],
    rows: [&Row; 3],
) -> String {
    let loss = |row: &Row| fixed(results.mean(row, Column::Last(TARGET)), 3);
    let first = if beats {
        "No other scheme recalls more at equal steps."
    } else {
        "At equal steps another scheme recalls more."
    };
    let second = if near {
        "At equal steps it is as good as full length."
    } else {
        "At equal steps it is behind full length: it has read 30% of the tokens, and what it lacks most is recall."
    };
    let third = if paid { "At equal FLOPs it has caught up." } else { "At equal FLOPs it is still behind." };
    format!(
        "{first} {second} (Last quarter {} and {}; {} at equal FLOPs.) {third} The long steps take {} less work; the \
         whole training took {} of core time instead of {}, since the steps at home are the same for all.",
        loss(rows[0]),
        loss(rows[1]),
        loss(rows[2]),
        percent(saved),
        duration(ours),
        duration(whole)
    )
}

fn parts(results: &Results, rows: &[Row], dear: &[Row]) -> Vec<Part> {
    let extras = [
        ("files", "longrecipe, from files"),
        ("alone", "… selected, nothing else"),
        ("selected", "… selected, half of the rest"),
        ("replay", "… selected, replay"),
        ("merged", "… selected, replay, merge"),
    ];
    let extras = extras.map(|(arm, label)| Row::new(label, arm, "own"));
    let columns = [&COLUMNS[..], &[Column::Time]].concat();
    let mut parts = vec![
        Part::Table(results.table("equal steps", rows, &columns)),
        loss_plot(results, "Loss by position at equal steps", rows),
        Part::Table(results.table("equal FLOPs", &[&rows[..1], dear].concat(), &columns)),
        depth_plot(results, "Keys by depth at equal FLOPs", &[&rows[..1], dear].concat(), TARGET),
        Part::Table(results.table("selection, replay, merge", &extras, &columns)),
        Part::Words(selection(results)),
    ];
    parts.extend(smollm2(results));
    parts
}

/// What selection leaves of this text, and what comes of a merge.
fn selection(results: &Results) -> String {
    let share = |arm| percent(results.value(arm, SELECTED));
    let last = |arm: &'static str| fixed(results.mean(&Row::new("", arm, "own"), Column::Last(TARGET)), 2);
    format!(
        "From files a sequence is a piece of a longer chronicle, and fewer facts stand in the piece that asks for them: \
         recall is lower than above. Sentences with a number, a pronoun or an auxiliary verb are {} of the tokens here, and they are the facts and the \
         questions: prose about weather and roads has none of these words. Trained on them alone, the model forgets that \
         prose. With half of the rest, as the released program keeps it, {} of the tokens stay. The average with the base is \
         worse than either: here the base has never seen interpolated positions, under which its loss is above 6, and the \
         way from there is too long for the middle of it to be good ({} after the replay, {} merged).",
        share("alone"),
        share("selected"),
        last("replay"),
        last("merged")
    )
}

fn smollm2(results: &Results) -> Vec<Part> {
    let steps = results.value("smollm2", "steps");
    if steps.is_nan() {
        return vec![Part::Words("★ SmolLM2-135M, 8K to 16K: not run yet.".to_owned())];
    }
    let heads = ["loss, first 8K of 16K", "last quarter of 16K", "keys at 8K", "keys at 16K"]
        .map(|head| (head.to_owned(), Align::Right));
    let what = format!("★ SmolLM2-135M, {steps:.0} steps, {} of core time", duration(results.value("smollm2", SPENT)));
    let mut table = Table::new([(what, Align::Left)].into_iter().chain(heads));
    let (x, y) = (Axis::linear("position").tokens(), Axis::linear("loss, nats per token"));
    let mut plot = LinePlot::new("SmolLM2-135M on Persuasion", x, y);
    let readings = ["before", "rope alone", "after"];
    let rows = readings.map(|reading| {
        Row::new(reading, "smollm2", reading).after(if reading == "after" { steps as usize } else { 0 })
    });
    for (reading, row) in readings.into_iter().zip(&rows) {
        let columns =
            [Column::Home(REAL_TARGET), Column::Last(REAL_TARGET), Column::Keys(8192), Column::Keys(REAL_TARGET)];
        table.row([reading.to_owned()].into_iter().chain(columns.map(|column| results.cell(row, column))));
        plot.series.push(results.curve(row, REAL_TARGET));
    }
    plot.marks = vec![Mark { at: 8192.0, label: "own window".to_owned() }];
    let [inside, last] = [Column::Home(REAL_TARGET), Column::Last(REAL_TARGET)]
        .map(|column| [&rows[0], &rows[1], &rows[2]].map(|row| fixed(results.mean(row, column), 3)));
    let words = format!(
        "LoRA of rank 16 with embedding and norms; {} tokens a step, a tenth of the sequences with keys, and the rope that \
         the paper's formula gives for 16K. Loss on the last quarter of *Persuasion*'s first 16K tokens: {} untouched, {} \
         under that rope alone, {} trained; on the first 8K {}, {} and {}. Ten keys are asked \
         for at each length; before training the model does not know the form of the question, inside its window neither.",
        REAL_TARGET * 3 / 10,
        last[0],
        last[1],
        last[2],
        inside[0],
        inside[1],
        inside[2]
    );
    vec![
        Part::Table(table),
        Part::Words(words),
        Part::plot("smollm2", "Loss by position before and after", &plot.to_svg()),
    ]
}
