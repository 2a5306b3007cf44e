//! An arm becomes a record, by the library's own training and evaluation.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use context_recipe::Cpu;
use context_recipe::data::{Encoder, Rng};
use context_recipe::engine::{Engine, Mode};
use context_recipe::eval::{self, KMaxTest};
use context_recipe::hub::Weights;
use context_recipe::plan::{GatesPlan, Plan, RopePlan};
use context_recipe::rehearse::{self, Base};
use context_recipe::report::Progress;
use context_recipe::train::{self, Event, Keeping, Origin};

use super::arm::{Arm, Heads, Reading, Search, Trial, Work};
use super::record::{Cost, Found, Record, rounded};
use super::{interrupt, pace, real, search, text};

/// Whatever stops an arm, in words.
pub(crate) type Result<T> = std::result::Result<T, String>;

/// Where things are, and what the command line said.
pub(crate) struct Place<'a> {
    /// The claim's name.
    pub(crate) claim: &'a str,
    pub(crate) commit: &'a str,
    /// A folder with SmolLM2-135M.
    pub(crate) model: Option<&'a Path>,
    /// A folder with novels.
    pub(crate) novels: Option<&'a Path>,
    /// Where a long run keeps itself.
    pub(crate) runs: &'a Path,
    /// Of all cores, for a long run.
    pub(crate) hours: f64,
    /// What the arm gave before, under the same setting.
    pub(crate) earlier: Option<&'a Record>,
}

/// What an arm's work gives.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) cost: Cost,
    pub(crate) readings: Vec<Found>,
    pub(crate) values: BTreeMap<String, f64>,
}

/// Runs `arm` under `seed`.
pub(crate) fn run(arm: &Arm, seed: u64, place: &Place) -> Result<Record> {
    let (started, begun, loaded) = (Instant::now(), cpu_seconds(), loaded());
    let mut outcome = match &arm.work {
        Work::Trial(trial) => Session::open(trial, seed)?.run(&arm.name)?,
        Work::Pace(pace) => pace::run(pace)?,
        Work::Law(law) => real::law(law, place)?,
        Work::Long(long) => real::long(&arm.name, long, place)?,
    };
    outcome.cost.seconds = started.elapsed().as_secs_f64().round();
    outcome.cost.cpu_seconds += (cpu_seconds() - begun).round();
    outcome.cost.machine = machine();
    outcome.cost.loaded = loaded;
    Ok(Record {
        claim: place.claim.to_owned(),
        arm: arm.name.clone(),
        seed,
        commit: place.commit.to_owned(),
        digest: arm.digest(),
        setting: arm.setting(),
        cost: outcome.cost,
        readings: outcome.readings,
        values: outcome.values.into_iter().map(|(name, value)| (name, rounded(value))).collect(),
    })
}

/// Seconds that all threads of this process have computed (proc(5), `stat`: fields 14 and 15, in hundredths).
pub(crate) fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = text.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Cores that may be used.
pub(crate) fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn machine() -> String {
    format!("{} threads, {}", threads(), std::env::consts::ARCH)
}

/// More than a third of a core is busy before the arm begins; nothing where the system does not tell.
fn loaded() -> bool {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|load| load.parse::<f64>().ok()).is_some_and(|load| load > 0.34)
}

pub(crate) fn said(error: impl std::fmt::Debug) -> String {
    format!("{error:?}")
}

/// One trial under way.
struct Session<'a> {
    trial: &'a Trial,
    seed: u64,
    plan: Plan,
    base: Base,
    encoder: Arc<Encoder>,
    folder: tempfile::TempDir,
    outcome: Outcome,
}

impl<'a> Session<'a> {
    fn open(trial: &'a Trial, seed: u64) -> Result<Self> {
        let base = Base::embedded().map_err(said)?;
        let encoder = Arc::new(base.encoder().map_err(said)?);
        let folder = tempfile::tempdir().map_err(said)?;
        let plan = text::located(&rehearse::seeded(&trial.plan, seed), folder.path());
        Ok(Self { trial, seed, plan, base, encoder, folder, outcome: Outcome::default() })
    }

    /// Trains up to each point of reading, and reads there.
    fn run(mut self, name: &str) -> Result<Outcome> {
        if let Some(wanted) = &self.trial.search {
            self.search(wanted)?;
        }
        let weights = self.base.weights.clone();
        let mode = if self.plan.stages.is_empty() { Mode::Infer } else { Mode::training(&self.plan) };
        let mut engine = Engine::new(Cpu::new(), &self.plan, &weights, self.seed, mode).map_err(said)?;
        let reads = text::Text::open(self.trial.text, &self.encoder, &self.plan, self.seed, self.folder.path())?;
        let selected = self.plan.stages.iter().find_map(|stage| reads.selected(stage));
        self.outcome.values.extend(selected.map(|share| (text::SELECTED.to_owned(), share)));
        let mut done = 0;
        for &steps in &self.trial.after {
            if steps > done {
                self.train(name, &mut engine, &reads, steps)?;
                done = steps;
            }
            self.read(&engine.merged(), engine.gates().as_deref(), steps)?;
        }
        let last = upto(&self.plan, done);
        self.outcome.cost.train_flops = last.flops().total;
        self.outcome.cost.tokens =
            last.stages.iter().map(|stage| (stage.steps * stage.batch * stage.length) as u64).sum();
        if let Some(gates) = engine.gates() {
            let gates = gates.iter().flatten();
            let (sum, count, open) = gates.fold((0.0, 0.0, 0.0), |(sum, count, open), gate| {
                (sum + gate, count + 1.0, open + f64::from(u8::from(*gate > 0.5)))
            });
            self.outcome.values.insert("mean gate".to_owned(), sum / count);
            self.outcome.values.insert("open gates".to_owned(), open / count);
        }
        Ok(self.outcome)
    }

    /// Puts the factors that a search finds in place of the plan's law, in its stages and readings too.
    fn search(&mut self, wanted: &Search) -> Result<()> {
        let begun = Instant::now();
        let (rope, losses) = search::factors(&self.plan, &self.base, &self.encoder, wanted, self.seed)?;
        self.plan = under(&self.plan, &rope);
        self.outcome.values.extend(losses);
        self.outcome.values.insert("search seconds".to_owned(), begun.elapsed().as_secs_f64());
        Ok(())
    }

    fn train(&mut self, name: &str, engine: &mut Engine<Cpu>, reads: &text::Text, steps: usize) -> Result<()> {
        let plan = upto(&self.plan, steps);
        let (started, begun, progress) = (Instant::now(), cpu_seconds(), Progress::training(&plan));
        let keeping = Keeping { out: self.folder.path(), every: usize::MAX, keep: 1, stop: interrupt::asked };
        let (peak, mut loss) = (&mut self.outcome.cost.peak_bytes, 0.0);
        train::run(engine, &plan, reads, &Origin::default(), keeping, &self.base.weights, &mut |event| match event {
            Event::Step(metrics) => {
                progress.step(metrics);
                *peak = (*peak).max(metrics.peak_memory_bytes);
                loss = metrics.loss;
            }
            Event::Resumed(resumed) => progress.resume_at(resumed.place.total_steps as u64),
            Event::Merged(_) => {}
        })
        .map_err(said)?;
        progress.finish(&format!("{name}, seed {}, loss {loss:.3}", self.seed));
        self.outcome.cost.train_seconds += started.elapsed().as_secs_f64().round();
        self.outcome.cost.train_cpu_seconds += (cpu_seconds() - begun).round();
        Ok(())
    }

    fn read(&mut self, weights: &Weights, gates: Option<&[Vec<f64>]>, steps: usize) -> Result<()> {
        let count =
            |reading: &Reading| -> usize { reading.lengths.iter().map(|&length| rehearse::documents(length)).sum() };
        let total: usize = self.trial.readings.iter().map(count).sum();
        let progress = Progress::new("read", "documents", total as u64);
        for reading in &self.trial.readings {
            self.reading(reading, weights, gates, steps, &progress)?;
        }
        progress.finish("");
        Ok(())
    }

    fn reading(
        &mut self,
        reading: &Reading,
        weights: &Weights,
        gates: Option<&[Vec<f64>]>,
        steps: usize,
        progress: &Progress,
    ) -> Result<()> {
        let searched = self.trial.search.is_some();
        let plan = if searched { under(&reading.plan, &self.plan.rope) } else { reading.plan.clone() };
        let plan = with_heads(&plan, reading.heads, gates, self.seed).merged();
        let mut engine = Engine::new(Cpu::new(), &plan, weights, 0, Mode::Infer).map_err(said)?;
        let native = self.base.model.context;
        for &context in &reading.lengths {
            interrupt::check()?;
            let mut tick = || progress.advance_with(1, &reading.name);
            let found = rehearse::measure(&mut engine, &self.encoder, "arm", (native, context), self.seed, &mut tick);
            let mut found = self.found(reading, steps, found.map_err(said)?);
            let longest = reading.lengths.iter().max() == Some(&context);
            if longest && reading.k_max {
                let test = KMaxTest { distances: 32, trials: 10, success: 0.2 };
                let k_max = eval::k_max(&mut engine, &self.encoder, context, test, self.seed, &mut |_| ());
                found.k_max = Some(k_max.map_err(said)?.k_max);
            }
            if !longest {
                found.curve.clear();
            }
            self.outcome.readings.push(found);
        }
        let cache = plan.kv_cache_bytes(plan.target) as f64 / plan.kv_cache_bytes_full(plan.target) as f64;
        self.outcome.values.insert(format!("{}: cache of full", reading.name), cache);
        Ok(())
    }

    fn found(&self, reading: &Reading, steps: usize, found: rehearse::Measured) -> Found {
        let share = |score: &eval::PasskeyScore| rounded(score.correct as f64 / score.trials.max(1) as f64);
        Found {
            reading: reading.name.clone(),
            steps,
            context: found.row.context,
            in_window: rounded(found.row.in_window_nll),
            last: rounded(found.row.last_quarter_nll),
            recall: rounded(found.row.passkey),
            depths: found.depths.iter().map(share).collect(),
            k_max: None,
            curve: found.curve.iter().map(|&(x, y)| (x, (y * 1e3).round() / 1e3)).collect(),
        }
    }
}

/// The plan's stages up to `steps` steps of all of them. A checkpoint of it is one of the whole plan too.
fn upto(plan: &Plan, steps: usize) -> Plan {
    let mut left = steps;
    let stages = plan.stages.iter().map_while(|stage| {
        let steps = stage.steps.min(left);
        left -= steps;
        (steps > 0).then(|| context_recipe::plan::StagePlan { steps, ..stage.clone() })
    });
    Plan { stages: stages.collect(), ..plan.clone() }
}

fn under(plan: &Plan, rope: &RopePlan) -> Plan {
    let mut plan = Plan { rope: rope.clone(), ..plan.clone() };
    plan.stages.to_mut().iter_mut().for_each(|stage| stage.rope = rope.clone());
    plan
}

fn with_heads(plan: &Plan, heads: Heads, gates: Option<&[Vec<f64>]>, seed: u64) -> Plan {
    let share = match heads {
        Heads::Planned => return plan.clone(),
        Heads::Learned(share) | Heads::Drawn(share) | Heads::Inverted(share) => share,
    };
    let mut plan = plan.clone();
    if let GatesPlan::Learned { sparsity, .. } = &mut plan.gates {
        *sparsity = share;
    }
    let mut rng = Rng::new(&[seed, 0x6865_6164]);
    let learned: Vec<Vec<f64>> = gates.map_or_else(Vec::new, <[Vec<f64>]>::to_vec);
    let changed = |gate: &f64, rng: &mut Rng| match heads {
        Heads::Drawn(_) => rng.below(1 << 20) as f64 / f64::from(1 << 20),
        Heads::Inverted(_) => 1.0 - gate,
        Heads::Planned | Heads::Learned(_) => *gate,
    };
    let gates: Vec<Vec<f64>> =
        learned.iter().map(|layer| layer.iter().map(|gate| changed(gate, &mut rng)).collect()).collect();
    plan.with_gates(&gates)
}

/// A file in a folder that the command line has to name.
pub(crate) fn needed<'a>(folder: Option<&'a Path>, option: &str) -> Result<&'a Path> {
    folder.ok_or_else(|| format!("give {option}"))
}

/// The run's own folder.
pub(crate) fn run_folder(place: &Place, arm: &str) -> PathBuf {
    place.runs.join(format!("evidence-{}-{arm}", place.claim))
}
