//! SmolLM2-135M on novels.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use context_recipe::Cpu;
use context_recipe::data::{Corpora, Encoder, read_text};
use context_recipe::engine::{Engine, Mode};
use context_recipe::eval::{self, Perplexity};
use context_recipe::hub::{Checkpoint, Weights};
use context_recipe::plan::Plan;
use context_recipe::report::Progress;
use context_recipe::train::{self, Event, Keeping, Origin};

use super::arm::{Law, Long};
use super::interrupt;
use super::record::{Found, rounded};
use super::run::{Outcome, Place, Result, cpu_seconds, needed, run_folder, said, threads};
use super::text::located;

/// The reading that changes when training goes on.
const AFTER: &str = "after";
/// The value that says how long all cores together computed for training.
pub(crate) const SPENT: &str = "cpu seconds of all steps";
/// Which nothing is trained on.
const READ: &str = "persuasion.txt";

struct Real {
    checkpoint: Checkpoint,
    encoder: Arc<Encoder>,
    /// Of the novel that is read.
    tokens: Vec<u32>,
}

impl Real {
    fn open(place: &Place) -> Result<Self> {
        let checkpoint =
            Checkpoint::open(needed(place.model, "--model DIR, a folder with SmolLM2-135M")?).map_err(said)?;
        let novels = needed(place.novels, "--text DIR, a folder with the novels")?;
        let tokenizer = checkpoint.tokenizer().map_err(said)?;
        let encoder = Encoder::new(tokenizer.inner().clone(), tokenizer.bos(), tokenizer.eos()).map_err(said)?;
        let tokens = encoder.encode(&read_text(&novels.join(READ)).map_err(said)?).map_err(said)?;
        Ok(Self { checkpoint, encoder: Arc::new(encoder), tokens })
    }
}

/// Loss by position under one law.
pub(crate) fn law(law: &Law, place: &Place) -> Result<Outcome> {
    let real = Real::open(place)?;
    let mut engine =
        Engine::new(Cpu::new(), &law.plan.merged(), &real.checkpoint.weights, 0, Mode::Infer).map_err(said)?;
    let progress = Progress::new("read", "pieces", law.documents as u64);
    let mut tick = |_| progress.advance(1);
    let found = eval::by_position(&mut engine, &real.tokens, law.length, law.documents, &mut tick).map_err(said)?;
    progress.finish("");
    let mut outcome = Outcome::default();
    outcome.values.insert("perplexity".to_owned(), found.perplexity);
    let read = real.tokens.iter().take(law.length * law.documents);
    outcome.values.insert("token sum".to_owned(), read.map(|&token| f64::from(token)).sum());
    outcome.readings.push(by_position("read", 0, &found, law.plan.model.context));
    Ok(outcome)
}

/// As a record keeps it; where nothing was asked for, recall is 0 and has no depths.
fn by_position(reading: &str, steps: usize, found: &Perplexity, native: usize) -> Found {
    let buckets: Vec<(f64, f64)> = found
        .nll
        .iter()
        .enumerate()
        .filter_map(|(index, nll)| Some((((index * found.bucket) + found.bucket / 2) as f64, (*nll)?)))
        .collect();
    let mean = |keep: &dyn Fn(f64) -> bool| {
        let kept: Vec<f64> = buckets.iter().filter(|(at, _)| keep(*at)).map(|(_, nll)| *nll).collect();
        rounded(kept.iter().sum::<f64>() / kept.len().max(1) as f64)
    };
    let last = 0.75 * found.context as f64;
    Found {
        reading: reading.to_owned(),
        steps,
        context: found.context,
        in_window: mean(&|at| at < native as f64),
        last: mean(&|at| at >= last),
        curve: buckets.iter().map(|&(at, nll)| (at, rounded(nll))).collect(),
        ..Found::default()
    }
}

/// What long training has computed, of all cores and in all calls. It lies beside the checkpoints, so that a killed run counts
/// too.
struct Spent {
    file: PathBuf,
    before: f64,
    begun: f64,
}

impl Spent {
    fn open(folder: &Path) -> Self {
        let file = folder.join("cpu_seconds");
        let before = fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok()).unwrap_or_default();
        Self { file, before, begun: cpu_seconds() }
    }

    fn seconds(&self) -> f64 {
        self.before + cpu_seconds() - self.begun
    }

    fn keep(&self) {
        // A count that cannot be written ends no training; the next one can.
        let beside = self.file.with_extension("new");
        drop(fs::write(&beside, self.seconds().to_string()).and_then(|()| fs::rename(&beside, &self.file)));
    }
}

/// Trains until the time is over, or all steps are done, and reads before and after.
pub(crate) fn long(name: &str, long: &Long, place: &Place) -> Result<Outcome> {
    let real = Real::open(place)?;
    let folder = run_folder(place, name);
    let plan = located(&long.plan, needed(place.novels, "--text DIR, a folder with the novels")?);
    let mut engine = Engine::new(Cpu::new(), &plan, &real.checkpoint.weights, 0, Mode::Train).map_err(said)?;
    let corpora = Corpora::open(&plan, &real.encoder, &folder.join("cache"), &mut |_| ()).map_err(said)?;
    let mut outcome = Outcome::default();
    let (started, spent, progress) = (Instant::now(), Spent::open(&folder), Progress::training(&plan));
    interrupt::at(spent.begun + place.hours * 3600.0 * threads() as f64 - spent.before);
    let keeping = Keeping { out: &folder, every: 5, keep: 1, stop: interrupt::over };
    let mut steps = 0;
    let run =
        train::run(&mut engine, &plan, &corpora, &Origin::default(), keeping, &real.checkpoint.weights, &mut |event| {
            match event {
                Event::Step(metrics) => {
                    progress.step(metrics);
                    steps = metrics.step;
                    spent.keep();
                    outcome.cost.peak_bytes = outcome.cost.peak_bytes.max(metrics.peak_memory_bytes);
                }
                Event::Resumed(resumed) => {
                    steps = resumed.place.total_steps;
                    progress.resume_at(steps as u64);
                }
                Event::Merged(_) => {}
            }
        });
    match run {
        Err(train::Error::Stopped { .. }) if !interrupt::asked() => {}
        Err(error) => return Err(format!("{error}; the same command goes on")),
        Ok(_) => {}
    }
    progress.finish(&format!("{steps} steps"));
    outcome.cost.train_seconds = started.elapsed().as_secs_f64().round();
    outcome.cost.train_cpu_seconds = spent.seconds().round();
    outcome.cost.cpu_seconds = spent.before.round();
    let stage = &plan.stages[0];
    outcome.cost.tokens = (steps * stage.batch * stage.length) as u64;
    outcome.cost.train_flops = plan.flops().stages[0].step * steps as f64;
    outcome.values.insert("steps".to_owned(), steps as f64);
    outcome.values.insert(SPENT.to_owned(), spent.seconds());
    let trained = engine.merged();
    drop(engine);
    let kept = place.earlier.map_or(&[][..], |record| &record.readings);
    let kept: Vec<Found> = kept.iter().filter(|found| found.reading != AFTER).cloned().collect();
    if kept.is_empty() {
        let base = &real.checkpoint.weights;
        outcome.readings.extend(read(&real, &plan.untouched(), "before", base, (long, 0), &long.lengths)?);
        outcome.readings.extend(read(&real, &plan.merged(), "rope alone", base, (long, 0), &[])?);
    }
    outcome.readings.extend(kept);
    outcome.readings.extend(read(&real, &plan.merged(), AFTER, &trained, (long, steps), &long.lengths)?);
    Ok(outcome)
}

/// Loss by position at the target, and keys at `lengths`.
fn read(
    real: &Real,
    plan: &Plan,
    reading: &str,
    weights: &Weights,
    (long, steps): (&Long, usize),
    lengths: &[usize],
) -> Result<Vec<Found>> {
    let mut engine = Engine::new(Cpu::new(), plan, weights, 0, Mode::Infer).map_err(said)?;
    let progress = Progress::new(reading, "documents", (1 + lengths.len() * long.exams) as u64);
    let mut tick = |_| progress.advance(1);
    let found = eval::by_position(&mut engine, &real.tokens, plan.target, 1, &mut tick).map_err(said)?;
    let mut readings = vec![by_position(reading, steps, &found, plan.model.context)];
    for &length in lengths {
        interrupt::check()?;
        let keys = eval::passkey(&mut engine, &real.encoder, length, long.exams, 0, &mut tick).map_err(said)?;
        let (correct, asked) = keys.iter().fold((0, 0), |sum, row| (sum.0 + row.correct, sum.1 + row.trials));
        let depths = keys.iter().map(|row| rounded(row.correct as f64 / row.trials.max(1) as f64)).collect();
        let new = Found { reading: reading.to_owned(), steps, context: length, ..Found::default() };
        let at = readings.iter().position(|found| found.context == length).unwrap_or_else(|| {
            readings.push(new);
            readings.len() - 1
        });
        (readings[at].recall, readings[at].depths) = (rounded(correct as f64 / asked.max(1) as f64), depths);
    }
    progress.finish("");
    Ok(readings)
}
