//! Times in turns: A, B, A, B, …, and the median of each. Only their ratios count.

use std::time::Instant;

use context_recipe::Cpu;
use context_recipe::data::Batch;
use context_recipe::engine::{Engine, Hyper, Mode};
use context_recipe::hub::Weights;
use context_recipe::plan::Plan;
use context_recipe::rehearse::Base;
use context_recipe::report::Progress;

use super::arm::Pace;
use super::interrupt;
use super::run::{Outcome, Result, said};

/// Tokens that are decoded in one turn.
const DECODED: usize = 32;

/// One plan, ready.
struct Runner {
    name: String,
    infer: Engine<Cpu>,
    train: Option<Engine<Cpu>>,
    batch: Batch,
    times: [Vec<f64>; 3],
}

pub(crate) fn run(pace: &Pace) -> Result<Outcome> {
    let base = Base::embedded().map_err(said)?;
    let mut outcome = Outcome::default();
    let mut runners: Vec<Runner> =
        pace.plans.iter().map(|(name, plan)| Runner::new(name, plan, &base.weights, pace)).collect::<Result<_>>()?;
    let progress = Progress::new("clock", "turns", (pace.turns * runners.len()) as u64);
    for turn in 0..=pace.turns {
        for runner in &mut runners {
            interrupt::check()?;
            runner.turn(turn > 0)?;
            progress.advance_with(u64::from(turn > 0), &runner.name);
        }
    }
    progress.finish("");
    for (runner, (_, plan)) in runners.iter_mut().zip(&pace.plans) {
        for (what, times) in ["step", "prefill", "decode"].iter().zip(&mut runner.times) {
            if !times.is_empty() {
                times.sort_by(f64::total_cmp);
                outcome.values.insert(format!("{}: {what} ms", runner.name), 1e3 * times[times.len() / 2]);
            }
        }
        let bytes = plan.kv_cache_bytes(pace.length) as f64;
        outcome.values.insert(format!("{}: cache bytes", runner.name), bytes);
    }
    Ok(outcome)
}

impl Runner {
    fn new(name: &str, plan: &Plan, weights: &Weights, pace: &Pace) -> Result<Self> {
        let engine = |plan: &Plan, mode| Engine::new(Cpu::new(), plan, weights, 0, mode).map_err(said);
        let vocab = plan.model.vocab;
        let tokens: Vec<u32> = (0..pace.length).map(|at| (at * 7919 % vocab) as u32).collect();
        let train = if pace.step { Some(engine(plan, Mode::Train)?) } else { None };
        let batch = Batch::sequence(tokens, &[0]).map_err(said)?;
        Ok(Self {
            name: name.to_owned(),
            infer: engine(&plan.merged(), Mode::Infer)?,
            train,
            batch,
            times: Default::default(),
        })
    }

    /// A step, a prompt, some tokens; the first turn only warms up.
    fn turn(&mut self, counts: bool) -> Result<()> {
        let mut found = [None; 3];
        if let Some(engine) = &mut self.train {
            let begun = Instant::now();
            engine.clear_gradients();
            engine.learn(&self.batch, 1.0 / self.batch.len() as f32, true).map_err(said)?;
            let norm = engine.gradient_norm();
            // So small a rate that all turns do the same work on the same numbers.
            let hyper = Hyper {
                lr: 1e-9,
                beta1: 0.9,
                beta2: 0.95,
                eps: 1e-8,
                weight_decay: 0.0,
                step: 1,
                grad_scale: 1.0 / norm.max(1.0),
            };
            engine.update(&hyper);
            found[0] = Some(begun.elapsed().as_secs_f64());
        }
        let begun = Instant::now();
        let mut cache = self.infer.cache(self.batch.len() + DECODED).map_err(said)?;
        self.infer.prefill(&mut cache, &self.batch.tokens).map_err(said)?;
        found[1] = Some(begun.elapsed().as_secs_f64());
        let begun = Instant::now();
        for _ in 0..DECODED {
            self.infer.prefill(&mut cache, &[7]).map_err(said)?;
            self.infer.next_logits(&mut cache).map_err(said)?;
        }
        found[2] = Some(begun.elapsed().as_secs_f64() / DECODED as f64);
        if counts {
            self.times.iter_mut().zip(found).for_each(|(times, found)| times.extend(found));
        }
        Ok(())
    }
}
