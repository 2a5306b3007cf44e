//! Whole training steps of Llama-2 7B with few of its layers: what a full layer takes, what a hybrid's streaming layer takes, and
//! what a step holds.

use std::borrow::Cow;
use std::time::Instant;

use context_recipe::data::{Batch, Rng};
use context_recipe::engine::{Device, Engine, Mode};
use context_recipe::hub::{self, Tensor, Tensors};
use context_recipe::plan::{self, Adapt, Llama, Parameter, Pattern, Plan, Recipe, Stage, StagePlan, presets};
use context_recipe::train::{self, Place, Sequences};

use crate::table::{Goal, Table, Work};
use crate::{bench, gib};

/// Of 32 layers, 12 are full in LongGen's hybrid (arXiv 2410.01485).
const FULL: f64 = 12.0 / 32.0;

const WINDOW: Pattern = Pattern::Window { window: 4096, sink: 4 };

struct Random;

impl Sequences for Random {
    fn sequence(&self, stage: &StagePlan, index: u64) -> Result<Batch, context_recipe::data::Error> {
        let mut rng = Rng::new(&[index]);
        Batch::sequence((0..stage.length).map(|_| rng.below(32_000) as u32).collect(), &[0])
    }
}

/// Of a whole stack, steps with all layers full and of the hybrid; of few layers, steps with all of one kind and with one layer
/// fewer, so that a layer's share is known.
pub(crate) fn run<D: Device>(
    open: &dyn Fn() -> Result<D, String>,
    tokens: usize,
    layers: usize,
    table: &mut Table,
) -> Result<(), String> {
    if layers == 0 {
        return Ok(());
    }
    println!("\nQLoRA steps of Llama-2 7B, {tokens} tokens, every layer recomputed");
    let mut time = |kind: &str, layers: &[Pattern]| -> Result<(f64, Option<f64>), String> {
        let plan = plan(tokens, layers)?;
        let seconds = step(open, &plan)?;
        let flops = plan.flops().stages[0].step;
        let name = format!("step, {} layers {kind} T={tokens}", layers.len());
        table.add(&name, seconds, Work::Flops(flops), if layers.len() < WHOLE { Goal::None } else { Goal::Limit(0.5) });
        Ok((seconds, predicted(&plan, table)))
    };
    let mut times = vec![];
    for (kind, patterns) in kinds(layers) {
        let (seconds, predicted) = time(kind, &patterns)?;
        let fewer =
            if layers < WHOLE && layers > 1 { time(kind, &patterns[1..])? } else { (0.0, predicted.map(|_| 0.0)) };
        times.push((seconds - fewer.0, predicted.zip(fewer.1).map(|(all, fewer)| all - fewer)));
    }
    let [full, other] = times[..] else { return Ok(()) };
    let mix = |full: f64, other: f64| if layers < WHOLE { FULL * full + (1.0 - FULL) * other } else { other };
    let ratio = full.0 / mix(full.0, other.0);
    let predicted = full.1.zip(other.1).map(|(full, other)| full / mix(full, other));
    let share = predicted.map_or_else(String::new, |predicted| {
        format!(
            "; measured rates predict {predicted:.2}x, of which it is {:.0}% (meant: 95%)",
            100.0 * ratio / predicted
        )
    });
    println!("hybrid of 12 and 20 layers: {ratio:.2}x full (meant: 1.55x){share}");
    Ok(())
}

/// So many layers are measured as they stand.
const WHOLE: usize = 8;

/// What the layers of each step are.
fn kinds(layers: usize) -> [(&'static str, Vec<Pattern>); 2] {
    let full = vec![Pattern::Full; layers];
    if layers < WHOLE {
        return [("full", full), (bench::WINDOW.0, vec![WINDOW; layers])];
    }
    let kept = (FULL * layers as f64).round() as usize;
    let first = (layers - kept) / 2;
    let pattern = |layer| if (first..first + kept).contains(&layer) { Pattern::Full } else { WINDOW };
    [("full", full), ("hybrid", (0..layers).map(pattern).collect())]
}

/// Seconds of a step if products ran at the limit and attention as it was measured: twice forward and once back, layer by layer.
fn predicted(plan: &Plan, table: &Table) -> Option<f64> {
    let (flops, tokens) = (plan.flops(), plan.target);
    let products = flops.stages[0].terms.iter().filter(|work| !work.name.starts_with("attention"));
    let mut seconds = products.map(|work| work.flops).sum::<f64>() / table.limits.products;
    for pattern in plan.layers.iter() {
        let name = if *pattern == Pattern::Full { bench::FULL.0 } else { bench::WINDOW.0 };
        let measured = |way| table.seconds(&bench::attention_name(name, tokens, way));
        seconds += 2.0 * measured("")? + measured(", gradients")?;
    }
    Some(seconds)
}

fn plan(tokens: usize, layers: &[Pattern]) -> Result<Plan, String> {
    let model = Llama { layers: layers.len(), context: tokens, ..presets::llama2_7b() };
    let adapt = Adapt::Lora {
        rank: 32,
        alpha: Some(16.0),
        targets: None,
        embed: true,
        norm: true,
        quantized: true,
        rslora: false,
        dropout: None,
    };
    let recipe = Recipe::new(model, tokens).adapt(adapt).train([Stage::extend(3, tokens, 2e-5)]);
    let plan = recipe.device(plan::Device::cuda(u64::MAX)).plan();
    let plan =
        plan.map_err(|faults| faults.iter().map(|fault| fault.message.clone()).collect::<Vec<_>>().join("; "))?;
    Ok(Plan { layers: layers.to_vec().into(), ..plan })
}

/// Noise of the right size, drawn when it is asked for: what a step takes does not depend on it.
struct Noise(Vec<Parameter>);

impl Noise {
    fn of(plan: &Plan) -> Noise {
        Noise(plan.parameters().into_iter().filter(|parameter| !parameter.name.contains(".lora_")).collect())
    }
}

impl Tensors for Noise {
    fn names(&self) -> Vec<String> {
        self.0.iter().map(|parameter| parameter.name.clone()).collect()
    }

    fn tensor(&self, name: &str) -> Result<Option<Cow<'_, Tensor>>, hub::Error> {
        let Some(Parameter { shape, .. }) = self.0.iter().find(|parameter| parameter.name == name) else {
            return Ok(None);
        };
        let mut state = 1_u32;
        let mut draw = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            0.04 * (state as f32 / u32::MAX as f32 - 0.5)
        };
        let data = (0..shape.iter().product()).map(|_| draw()).collect();
        Ok(Some(Cow::Owned(Tensor { shape: shape.clone(), data })))
    }
}

/// Seconds of the second step; the first compiles kernels and fills memory.
fn step<D: Device>(open: &dyn Fn() -> Result<D, String>, plan: &Plan) -> Result<f64, String> {
    let words = |error: &dyn std::error::Error| error.to_string();
    let mut engine = Engine::new(open()?, plan, &Noise::of(plan), 0, Mode::Train).map_err(|error| words(&error))?;
    let mut seconds = 0.0;
    for number in 0..2 {
        let (start, place) = (Instant::now(), Place { step: number, ..Place::default() });
        train::step(&mut engine, &plan.stages[0], &place, &Random).map_err(|error| words(&error))?;
        engine.device().finish().map_err(|error| words(&error))?;
        seconds = start.elapsed().as_secs_f64();
    }
    let memory = plan.memory();
    let reserved = memory.terms.iter().filter(|term| &*term.name == "reserved").map(|term| term.bytes).sum::<u64>();
    let (held, planned) = (gib(engine.device().memory().1), gib(memory.total - reserved));
    println!("{:.0} tokens/s, {held:.2} GiB in buffers, {planned:.2} GiB planned", plan.target as f64 / seconds);
    Ok(seconds)
}
