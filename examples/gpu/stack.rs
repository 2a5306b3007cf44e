//! Whole training steps of Llama-2 7B with few of its layers: what a full layer takes, what a hybrid's streaming layer takes, and
//! what a step holds.

use std::time::Instant;

use context_recipe::data::{Batch, Rng};
use context_recipe::engine::{Device, Engine, Mode};
use context_recipe::hub::Weights;
use context_recipe::plan::{self, Adapt, Llama, Pattern, Plan, Recipe, Stage, StagePlan, presets};
use context_recipe::train::{self, Place, Sequences};

use crate::gib;

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

/// Steps with all layers of one kind, full and streaming; with `layers` and with one fewer, so that a layer's share is known.
pub(crate) fn run<D: Device>(open: &dyn Fn() -> Result<D, String>, tokens: usize, layers: usize) -> Result<(), String> {
    if layers == 0 {
        return Ok(());
    }
    println!("\nQLoRA steps of Llama-2 7B, {tokens} tokens, every layer recomputed");
    let mut a_layer = vec![];
    for (name, pattern) in [("full", Pattern::Full), ("window(4096, sink = 4)", WINDOW)] {
        let whole = step(open, &plan(tokens, layers, pattern)?, name)?;
        if layers > 1 {
            a_layer.push(whole - step(open, &plan(tokens, layers - 1, pattern)?, name)?);
        }
    }
    if let [full, window] = a_layer[..] {
        let hybrid = FULL * full + (1.0 - FULL) * window;
        println!("a layer: full {full:.3} s, streaming {window:.3} s; hybrid of 12 and 20: {:.2}x full", full / hybrid);
    }
    Ok(())
}

fn plan(tokens: usize, layers: usize, pattern: Pattern) -> Result<Plan, String> {
    let model = Llama { layers, context: tokens, ..presets::llama2_7b() };
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
    let plan = recipe.device(plan::Device::Cuda { memory: u64::MAX }).plan();
    let plan =
        plan.map_err(|faults| faults.iter().map(|fault| fault.message.clone()).collect::<Vec<_>>().join("; "))?;
    Ok(Plan { layers: vec![pattern; layers].into(), ..plan })
}

/// Seconds of the second step; the first compiles kernels and fills memory.
fn step<D: Device>(open: &dyn Fn() -> Result<D, String>, plan: &Plan, name: &str) -> Result<f64, String> {
    let words = |error: &dyn std::error::Error| error.to_string();
    let mut engine = Engine::new(open()?, plan, &Weights::new(), 0, Mode::Train).map_err(|error| words(&error))?;
    let mut seconds = 0.0;
    for number in 0..2 {
        let (start, place) = (Instant::now(), Place { step: number, ..Place::default() });
        train::step(&mut engine, &plan.stages[0], &place, &Random).map_err(|error| words(&error))?;
        engine.device().finish().map_err(|error| words(&error))?;
        seconds = start.elapsed().as_secs_f64();
    }
    let (layers, memory) = (plan.layers.len(), plan.memory());
    let reserved = memory.terms.iter().filter(|term| &*term.name == "reserved").map(|term| term.bytes).sum::<u64>();
    println!(
        "{layers} layers {name}: {seconds:.3} s, {:.0} tokens/s, {:.2} GiB in buffers, {:.2} GiB planned",
        plan.stages[0].length as f64 / seconds,
        gib(engine.device().memory().1),
        gib(memory.total - reserved)
    );
    Ok(seconds)
}
