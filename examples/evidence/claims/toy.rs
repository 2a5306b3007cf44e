//! What the claims share: the embedded base, its text and its steps.

use context_recipe::plan::{Adapt, Plan, Recipe, Rope, Source, Stage, presets};
use context_recipe::report::{Axis, HeatGrid, LinePlot, Mark, number};

use super::super::arm::{Arm, Heads, Reading, Reads, Trial};
use super::super::results::{Column, Results, Row};
use super::Part;

pub(crate) const NATIVE: usize = 256;
/// Most claims are tried at 8×.
pub(crate) const SCALE: usize = 8;
pub(crate) const TARGET: usize = SCALE * NATIVE;
/// Peak learning rate when all weights learn; of the rehearsal's rule, as the adapters'.
pub(crate) const LR: f64 = 1e-3;
pub(crate) const LR_LORA: f64 = 8e-3;
/// Steps at the native length, where the model gets used to its new positions, and at the target.
pub(crate) const HOME: usize = 100;
pub(crate) const AWAY: usize = 100;
pub(crate) const STEPS: usize = HOME + AWAY;

/// The base to `scale` windows; nothing else said.
pub(crate) fn recipe(scale: usize) -> Recipe {
    let data = [Source::text("chronicles").share(0.9), Source::passkey().share(0.1)];
    Recipe::new(presets::tiny(), scale * NATIVE).data(data)
}

/// Steps at the native length, then at the target: 2048 tokens a step, or one sequence.
pub(crate) fn stages(scale: usize, lr: f64) -> [Stage; 2] {
    [stage(HOME, NATIVE, lr), Stage { warmup: Some(0), ..stage(AWAY, scale * NATIVE, lr) }]
}

pub(crate) fn stage(steps: usize, length: usize, lr: f64) -> Stage {
    let batch = (TARGET / length).max(1);
    Stage { batch: Some(batch), warmup: Some(10), recompute: Some(false), ..Stage::extend(steps, length, lr) }
}

/// The plan of a recipe that has no fault.
pub(crate) fn plan(recipe: Recipe) -> Plan {
    recipe.plan().unwrap_or_else(|faults| panic!("{faults:#?}"))
}

/// All weights learn.
pub(crate) fn full(rope: Rope, scale: usize) -> Recipe {
    recipe(scale).rope(rope).adapt(Adapt::Full).train(stages(scale, LR))
}

/// Lengths at which a plan is read: the window, half of the target, the target.
pub(crate) fn lengths(scale: usize) -> Vec<usize> {
    vec![NATIVE, scale * NATIVE / 2, scale * NATIVE]
}

/// The plan itself, read.
pub(crate) fn reading(name: &str, plan: &Plan) -> Reading {
    let scale = plan.target / plan.model.context;
    let mut lengths = lengths(scale.max(1));
    lengths.dedup();
    Reading { name: name.to_owned(), plan: plan.clone(), lengths, k_max: false, heads: Heads::Planned }
}

/// Interpolated, all weights, full attention: what other claims compare with. The same arm in all, so it runs once.
pub(crate) fn interpolated(name: &str, label: &str) -> Arm {
    Arm::trial(name, label, trained(plan(full(interpolate(), SCALE))))
}

pub(crate) fn interpolate() -> Rope {
    Rope::interpolate(SCALE as f64)
}

/// Loss at home and far away, keys, work.
pub(crate) const COLUMNS: [Column; 6] = [
    Column::Home(NATIVE),
    Column::Last(TARGET / 2),
    Column::Last(TARGET),
    Column::Keys(TARGET / 2),
    Column::Keys(TARGET),
    Column::Flops,
];

/// Loss by position at the target, a line for each row.
pub(crate) fn loss_plot(results: &Results, title: &str, rows: &[Row]) -> Part {
    let (x, y) = (Axis::linear("position").tokens(), Axis::linear("loss, nats per token"));
    let mut plot = LinePlot::new(title, x, y);
    plot.series = rows.iter().map(|row| results.curve(row, TARGET)).collect();
    plot.marks = vec![Mark { at: NATIVE as f64, label: "own window".to_owned() }];
    Part::plot("loss", title, &plot.to_svg())
}

/// Keys recalled by depth, a line of cells for each row.
pub(crate) fn depth_plot(results: &Results, title: &str, rows: &[Row], context: usize) -> Part {
    let grid = HeatGrid {
        title: title.to_owned(),
        x_label: format!(
            "depth: at 0% a key lies {} tokens back, at 100% beside its question",
            number::tokens(context)
        ),
        y_label: format!("keys recalled at {} tokens", number::tokens(context)),
        columns: ["0%", "25%", "50%", "75%", "100%"].map(ToOwned::to_owned).to_vec(),
        rows: rows.iter().map(|row| row.label.clone()).collect(),
        values: rows.iter().map(|row| results.depths(row, context)).collect(),
    };
    Part::plot("depth", title, &grid.to_svg())
}

/// Trained to the end, then read under its own plan.
pub(crate) fn trained(plan: Plan) -> Trial {
    let steps = plan.stages.iter().map(|stage| stage.steps).sum();
    let readings = vec![reading("own", &plan)];
    Trial { plan, text: Reads::Chronicles, search: None, after: vec![steps], readings }
}

/// Not trained, read under each of these plans.
pub(crate) fn untrained(readings: Vec<Reading>) -> Trial {
    let plan = plan(Recipe::new(presets::tiny(), NATIVE));
    Trial { plan, text: Reads::Chronicles, search: None, after: vec![0], readings }
}
