//! Training as a whole: resuming is the same computation as never having stopped, and nothing is lost on the way.

mod common;

use std::cell::Cell;
use std::fs;
use std::path::Path;

use common::{reference, training_plan, weights};
use context_recipe::Cpu;
use context_recipe::data::{Batch, Rng};
use context_recipe::engine::{Engine, Mode};
use context_recipe::hub::Weights;
use context_recipe::plan::{Adapt, Plan, Schedule, Stage, StagePlan};
use context_recipe::train::{self, Checkpoints, Error, Keeping, MetricsLog, Origin, Place, Sequences};

/// Random tokens; stops the run when `fuse` sequences have been read.
struct Noise {
    fuse: Cell<u64>,
}

impl Noise {
    fn endless() -> Self {
        Self { fuse: Cell::new(u64::MAX) }
    }
}

impl Sequences for Noise {
    fn sequence(&self, stage: &StagePlan, index: u64) -> Result<Batch, context_recipe::data::Error> {
        if self.fuse.get() == 0 {
            return Batch::sequence(vec![], &[1]);
        }
        self.fuse.set(self.fuse.get() - 1);
        let mut rng = Rng::new(&[stage.seed, index]);
        Batch::sequence((0..stage.length).map(|_| rng.below(97) as u32).collect(), &[0])
    }
}

fn stage(steps: usize, length: usize, batch: usize) -> Stage {
    Stage {
        steps: Some(steps),
        length: Some(length),
        batch: Some(batch),
        lr: Some(1e-2),
        warmup: Some(2.min(steps - 1)),
        schedule: Some(Schedule::Cosine),
        ..Stage::default()
    }
}

fn two_stages() -> Plan {
    let adapt = Adapt::Lora { rank: 4, alpha: None, targets: None, embed: true, norm: true, quantized: true };
    training_plan(adapt, vec![stage(4, 16, 2), stage(2, 40, 1)])
}

fn engine(plan: &Plan) -> Engine<Cpu> {
    Engine::new(Cpu::new(), plan, &weights(&reference()), 5, Mode::Train).unwrap()
}

fn keeping(out: &Path) -> Keeping<'_> {
    Keeping { out, every: 1, keep: 2 }
}

fn run(plan: &Plan, text: &Noise, out: &Path) -> Result<(Place, Weights), Error> {
    let mut engine = engine(plan);
    let place = train::run(&mut engine, plan, text, &Origin::default(), keeping(out), &mut |_| {})?;
    Ok((place, engine.trained()))
}

fn same_bits(a: &Weights, b: &Weights) -> bool {
    let bits = |weights: &Weights| -> Vec<u32> {
        weights.iter().flat_map(|(_, tensor)| tensor.data.iter().map(|x| x.to_bits()).collect::<Vec<_>>()).collect()
    };
    a.len() == b.len() && bits(a) == bits(b)
}

#[test]
fn six_steps_are_three_and_three() {
    let plan = two_stages();
    let (straight, broken) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (place, whole) = run(&plan, &Noise::endless(), straight.path()).unwrap();
    assert_eq!(place.total_steps, 6);
    // The text ends in the fourth step: three are done and saved.
    assert!(run(&plan, &Noise { fuse: Cell::new(7) }, broken.path()).is_err());
    assert_eq!(MetricsLog::read(&broken.path().join("metrics.jsonl")).unwrap().len(), 3);
    let (place, resumed) = run(&plan, &Noise::endless(), broken.path()).unwrap();
    assert_eq!(place.total_steps, 6);
    assert!(same_bits(&whole, &resumed));
    let losses = |out: &Path| -> Vec<u64> {
        let lines = MetricsLog::read(&out.join("metrics.jsonl")).unwrap();
        lines.iter().map(|line| line.loss.to_bits()).collect()
    };
    assert_eq!(losses(straight.path()), losses(broken.path()));
}

#[test]
fn metrics_are_cut_back_to_the_checkpoint() {
    let plan = two_stages();
    let out = tempfile::tempdir().unwrap();
    assert!(run(&plan, &Noise { fuse: Cell::new(7) }, out.path()).is_err());
    let log = out.path().join("metrics.jsonl");
    // A killed process wrote a step that no checkpoint holds, and half a line.
    let mut lines = MetricsLog::read(&log).unwrap();
    lines[2].step = 4;
    let torn =
        format!("{}{}\n{{\"step\":5,", fs::read_to_string(&log).unwrap(), serde_json::to_string(&lines[2]).unwrap());
    fs::write(&log, torn).unwrap();
    run(&plan, &Noise::endless(), out.path()).unwrap();
    let steps: Vec<usize> = MetricsLog::read(&log).unwrap().iter().map(|line| line.step).collect();
    assert_eq!(steps, [1, 2, 3, 4, 5, 6]);
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let plan = two_stages();
    let trained = |threads: usize| {
        let out = tempfile::tempdir().unwrap();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| run(&plan, &Noise::endless(), out.path())).unwrap().1
    };
    let one = trained(1);
    assert!(same_bits(&one, &trained(2)));
    assert!(same_bits(&one, &trained(3)));
}

#[test]
fn a_checkpoint_of_another_run_is_refused_and_kept() {
    let plan = two_stages();
    let out = tempfile::tempdir().unwrap();
    run(&plan, &Noise::endless(), out.path()).unwrap();
    let other = Origin { plan: "another".to_owned(), ..Origin::default() };
    let mut engine = engine(&plan);
    let refused = train::run(&mut engine, &plan, &Noise::endless(), &other, keeping(out.path()), &mut |_| {});
    assert!(matches!(refused, Err(Error::OtherRun { .. })), "{refused:?}");
    assert_eq!(Checkpoints::new(out.path(), 2).list().len(), 2);
}

#[test]
fn a_torn_checkpoint_is_an_error_that_names_the_file() {
    let plan = two_stages();
    let out = tempfile::tempdir().unwrap();
    run(&plan, &Noise::endless(), out.path()).unwrap();
    let newest = Checkpoints::new(out.path(), 2).list().pop().unwrap();
    let bytes = fs::read(&newest).unwrap();
    fs::write(&newest, &bytes[..bytes.len() / 2]).unwrap();
    let error = run(&plan, &Noise::endless(), out.path()).unwrap_err().to_string();
    assert!(error.contains(&newest.display().to_string()), "{error}");
    // Without it the run goes on from the one before.
    fs::remove_file(&newest).unwrap();
    assert_eq!(run(&plan, &Noise::endless(), out.path()).unwrap().0.total_steps, 6);
}

#[test]
fn a_loss_that_is_not_finite_stops_before_the_update() {
    let plan = two_stages();
    let mut weights = weights(&reference());
    weights.get_mut("model.norm.weight").unwrap().data[0] = f32::INFINITY;
    let mut engine = Engine::new(Cpu::new(), &plan, &weights, 5, Mode::Train).unwrap();
    let before = engine.trained();
    let out = tempfile::tempdir().unwrap();
    let stopped =
        train::run(&mut engine, &plan, &Noise::endless(), &Origin::default(), keeping(out.path()), &mut |_| {});
    let Err(error @ Error::NotFinite { step: 1, first: 0, end: 2, .. }) = stopped else { panic!("{stopped:?}") };
    assert!(error.to_string().contains("Lower `lr`"), "{error}");
    assert!(same_bits(&before, &engine.trained()));
}

#[test]
fn accumulated_passes_are_one_mean_over_all_tokens() {
    // 200 sequences of 40 tokens are two passes; the gradient is that of one batch.
    let plan = training_plan(Adapt::Full, vec![stage(1, 40, 200)]);
    let (stage, text) = (&plan.stages[0], Noise::endless());
    let out = tempfile::tempdir().unwrap();
    let mut stepped = engine(&plan);
    let metrics = train::step(&mut stepped, stage, &Place::default(), &text).unwrap();
    let whole: Vec<Batch> = (0..200).map(|index| text.sequence(stage, index).unwrap()).collect();
    let whole = Batch::concat(&whole);
    let mut once = engine(&plan);
    once.clear_gradients();
    once.learn(&whole, 1.0 / whole.counted() as f32, true).unwrap();
    assert!((metrics.grad_norm / once.gradient_norm() - 1.0).abs() < 1e-4);
    drop(out);
}

#[test]
fn training_learns_a_text_by_heart() {
    struct Same;
    impl Sequences for Same {
        fn sequence(&self, stage: &StagePlan, _: u64) -> Result<Batch, context_recipe::data::Error> {
            Batch::sequence((0..stage.length).map(|i| (i * i % 89) as u32).collect(), &[0])
        }
    }
    let plan = training_plan(Adapt::Full, vec![stage(40, 32, 1)]);
    let mut engine = engine(&plan);
    let out = tempfile::tempdir().unwrap();
    train::run(&mut engine, &plan, &Same, &Origin::default(), keeping(out.path()), &mut |_| {}).unwrap();
    let losses = MetricsLog::read(&out.path().join("metrics.jsonl")).unwrap();
    assert!(losses[0].loss > 4.0 && losses[39].loss < 0.5, "{} → {}", losses[0].loss, losses[39].loss);
}
