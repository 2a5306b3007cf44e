//! Training as a whole: resuming is the same computation as never having stopped, and nothing is lost on the way.

mod common;

use std::cell::Cell;
use std::fs;
use std::path::Path;

use common::{reference, relative, training_plan, weights};
use context_recipe::Cpu;
use context_recipe::data::{Batch, Rng};
use context_recipe::engine::{Engine, Mode};
use context_recipe::hub::{TensorFile, Weights};
use context_recipe::plan::{
    Adapt, Documents, Merge, MergeForm, Optimizer, Plan, RopePlan, Schedule, Source, SourceKind, Stage, StagePlan,
};
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
    training_plan(adapters(), vec![stage(4, 16, 2), stage(2, 40, 1)])
}

fn engine(plan: &Plan) -> Engine<Cpu> {
    Engine::new(Cpu::new(), plan, &weights(&reference()), 5, Mode::Train).unwrap()
}

fn original() -> Weights {
    weights(&reference())
}

fn keeping(out: &Path) -> Keeping<'_> {
    Keeping { out, every: 1, keep: 2, stop: || false }
}

fn run(plan: &Plan, text: &Noise, out: &Path) -> Result<(Place, Weights), Error> {
    let mut engine = engine(plan);
    let place = train::run(&mut engine, plan, text, &Origin::default(), keeping(out), &original(), &mut |_| {})?;
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

/// A ladder of bases, a stage of joined documents with text of its own, a merge in the middle and one at the end.
fn ladder(adapt: Adapt, form: MergeForm) -> Plan {
    let merge = |base| Some(Merge { base: Some(base), form: Some(form) });
    let data = vec![Source::new(SourceKind::Passkey)];
    training_plan(
        adapt,
        vec![
            Stage { theta: Some(3e4), ..stage(2, 16, 2) },
            Stage { theta: Some(2e4), merge: merge(0.25), ..stage(2, 24, 1) },
            Stage { data, documents: Some(Documents::Joined), merge: merge(0.5), ..stage(3, 40, 1) },
        ],
    )
}

fn adapters() -> Adapt {
    Adapt::Lora {
        rank: 4,
        alpha: None,
        targets: None,
        embed: true,
        norm: true,
        quantized: true,
        rslora: false,
        dropout: None,
    }
}

#[test]
fn a_run_of_several_stages_resumes_anywhere() {
    for plan in [ladder(adapters(), MergeForm::Linear), ladder(Adapt::Full, MergeForm::Spherical)] {
        let straight = tempfile::tempdir().unwrap();
        let (place, whole) = run(&plan, &Noise::endless(), straight.path()).unwrap();
        assert_eq!((place.total_steps, place.updates), (7, 0));
        // Sequences of the steps: 2, 2, 1, 1, then the merge, 1, 1, 1.
        for fuse in [2, 3, 5, 6, 8] {
            let broken = tempfile::tempdir().unwrap();
            assert!(run(&plan, &Noise { fuse: Cell::new(fuse) }, broken.path()).is_err());
            let (place, resumed) = run(&plan, &Noise::endless(), broken.path()).unwrap();
            assert_eq!(place.total_steps, 7);
            assert!(same_bits(&whole, &resumed), "stopped after {fuse} sequences");
        }
        // A finished run is not merged again.
        assert!(same_bits(&whole, &run(&plan, &Noise::endless(), straight.path()).unwrap().1));
    }
}

#[test]
fn a_run_that_dies_in_a_merge_merges_once() {
    let plan = ladder(adapters(), MergeForm::Linear);
    let (straight, broken) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (_, whole) = run(&plan, &Noise::endless(), straight.path()).unwrap();
    let (mut first, text) = (engine(&plan), Noise::endless());
    let origin = Origin::default();
    let died = train::run(&mut first, &plan, &text, &origin, keeping(broken.path()), &Weights::new(), &mut |_| {});
    assert!(matches!(died, Err(Error::NoOriginal { .. })), "{died:?}");
    assert!(same_bits(&whole, &run(&plan, &Noise::endless(), broken.path()).unwrap().1));
}

#[test]
fn a_merge_is_the_average_with_the_original() {
    let merged = |merge| {
        let plan = training_plan(adapters(), vec![Stage { merge, ..stage(3, 16, 2) }]);
        let out = tempfile::tempdir().unwrap();
        let mut engine = engine(&plan);
        let origin = Origin::default();
        train::run(&mut engine, &plan, &Noise::endless(), &origin, keeping(out.path()), &original(), &mut |_| {})
            .unwrap();
        engine.merged()
    };
    let merge = Merge { base: Some(0.25), form: None };
    // The base in NF4 is what the adapters stand on.
    let untrained = engine(&training_plan(adapters(), vec![])).merged();
    let (trained, found) = (merged(None), merged(Some(merge)));
    for (name, tensor) in found.iter() {
        let expected = untrained.get(name).unwrap().data.iter().zip(&trained.get(name).unwrap().data);
        let expected: Vec<f32> = expected.map(|(original, trained)| 0.25 * original + 0.75 * trained).collect();
        assert!(relative(&tensor.data, &expected) < 1e-6, "{name}");
    }
    let changed = |name: &str| relative(&trained.get(name).unwrap().data, &found.get(name).unwrap().data) > 1e-4;
    assert!(changed("model.embed_tokens.weight") && changed("model.layers.0.self_attn.q_proj.weight"));
}

#[test]
fn a_stage_trains_under_its_own_rope() {
    let plan = ladder(Adapt::Full, MergeForm::Linear);
    assert_ne!(plan.stages[0].rope, plan.rope);
    let text = Noise::endless();
    let mut stepped = engine(&plan);
    let metrics = train::step(&mut stepped, &plan.stages[0], &Place::default(), &text).unwrap();
    let loss_under = |rope: &RopePlan| {
        let mut engine = engine(&Plan { rope: rope.clone(), ..plan.clone() });
        let sequences: Vec<Batch> = (0..2).map(|index| text.sequence(&plan.stages[0], index).unwrap()).collect();
        let nll = engine.score(&Batch::concat(&sequences)).unwrap().nll;
        nll.iter().map(|&nll| f64::from(nll)).sum::<f64>() / 30.0
    };
    assert!((metrics.loss - loss_under(&plan.stages[0].rope)).abs() < 1e-6);
    assert!((metrics.loss - loss_under(&plan.rope)).abs() > 1e-5);
}

fn packed(plan: Plan) -> Plan {
    Plan { optimizer: Optimizer::AdamW8bit, ..plan }
}

/// Codes and scales travel as they are: a run with moments of 8 bits that was broken off gives the bits of one that never was, a
/// merge in between, whatever the number of threads.
#[test]
fn moments_of_eight_bits_resume_to_the_bit() {
    let plan = packed(ladder(Adapt::Full, MergeForm::Linear));
    let straight = tempfile::tempdir().unwrap();
    let (_, whole) = run(&plan, &Noise::endless(), straight.path()).unwrap();
    for (fuse, threads) in [(2, 1), (3, 3), (5, 2), (8, 1)] {
        let broken = tempfile::tempdir().unwrap();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| assert!(run(&plan, &Noise { fuse: Cell::new(fuse) }, broken.path()).is_err()));
        let newest = TensorFile::open(&Checkpoints::new(broken.path(), 1).list().pop().unwrap()).unwrap();
        let embed = "model.embed_tokens.weight";
        assert_eq!(newest.u8(&format!("second_moment_8bit/{embed}")).unwrap().0, [97, 64]);
        assert_eq!(newest.shape(&format!("first_moment_scale/{embed}")), Some(&[(97 * 64_usize).div_ceil(256)][..]));
        // Small tensors keep f32.
        assert_eq!(newest.f32("first_moment/model.norm.weight").unwrap().shape, [64]);
        assert!(newest.f32(&format!("first_moment/{embed}")).is_err());
        let (place, resumed) = run(&plan, &Noise::endless(), broken.path()).unwrap();
        assert_eq!(place.total_steps, 7);
        assert!(same_bits(&whole, &resumed), "stopped after {fuse} sequences");
    }
    assert!(!same_bits(
        &whole,
        &run(&ladder(Adapt::Full, MergeForm::Linear), &Noise::endless(), tempfile::tempdir().unwrap().path())
            .unwrap()
            .1
    ));
}

/// A checkpoint of one optimiser is no start for the other, and the error says what to write.
#[test]
fn a_checkpoint_of_another_optimizer_is_refused_and_kept() {
    let plan = training_plan(Adapt::Full, vec![stage(2, 16, 1)]);
    for (first, second, said) in [
        (plan.clone(), packed(plan.clone()), "started with `optimizer: adamw`, and the recipe says `adamw_8bit`"),
        (packed(plan.clone()), plan.clone(), "started with `optimizer: adamw_8bit`, and the recipe says `adamw`"),
    ] {
        let out = tempfile::tempdir().unwrap();
        run(&first, &Noise::endless(), out.path()).unwrap();
        let refused = run(&second, &Noise::endless(), out.path()).unwrap_err();
        assert!(matches!(refused, Error::OtherOptimizer { .. }), "{refused:?}");
        assert!(refused.to_string().contains(said) && refused.to_string().contains("--out"), "{refused}");
        let early = Checkpoints::new(out.path(), 1).check(&second, &Origin::default()).unwrap_err();
        assert_eq!(early.to_string(), refused.to_string());
        run(&first, &Noise::endless(), out.path()).unwrap();
        // By hand, tensor by tensor.
        let (mut ours, theirs) = (engine(&second), engine(&first));
        let before = ours.moments();
        let error = ours.restore(&theirs.trained(), &theirs.moments()).unwrap_err().to_string();
        assert!(error.contains("the moments of tensor `model.embed_tokens.weight` are in"), "{error}");
        assert_eq!(ours.moments(), before);
    }
}

/// What 8 bits cost. In the largest decade of a block a first moment is stored within 0.45 ÷ 64 of the block's largest, a second
/// within 0.45 ÷ 128: roundings to either side, of a percent, in numbers whose own noise is larger. So the last losses may differ by a
/// hundredth of what was learned. Moments that are lost or divided by nothing cost far more.
#[test]
fn eight_bits_learn_as_f32_does() {
    let plan = training_plan(Adapt::Full, vec![Stage { lr: Some(3e-3), ..stage(60, 32, 4) }]);
    let losses = |plan: &Plan| {
        let (mut engine, mut place) = (engine(plan), Place::default());
        let step = |_| {
            let metrics = train::step(&mut engine, &plan.stages[0], &place, &Verses).unwrap();
            place = place.after(&metrics);
            metrics.loss
        };
        (0..60).map(step).collect::<Vec<f64>>()
    };
    let (usual, eight) = (losses(&plan), losses(&packed(plan.clone())));
    let last = |losses: &[f64]| losses[50..].iter().sum::<f64>() / 10.0;
    println!("{:.4} → {:.4}, with 8 bits {:.4}", usual[0], last(&usual), last(&eight));
    assert!(last(&usual) < 0.6 * usual[0], "{usual:?}");
    assert!((last(&eight) - last(&usual)).abs() < 0.01 * (usual[0] - last(&usual)), "{eight:?}");
    assert_ne!(usual, eight, "nothing was packed");
}

/// Walks through the alphabet in steps of 1 to 8, one for each sequence: to be learned, and not by heart. Half of the vocabulary
/// never comes, so that rows of the embedding have no gradient.
struct Verses;

impl Sequences for Verses {
    fn sequence(&self, stage: &StagePlan, index: u64) -> Result<Batch, context_recipe::data::Error> {
        let mut rng = Rng::new(&[index]);
        let (start, stride) = (rng.below(48), 1 + rng.below(8));
        Batch::sequence((0..stage.length).map(|i| ((start + i * stride) % 48) as u32).collect(), &[0])
    }
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
    let refused =
        train::run(&mut engine, &plan, &Noise::endless(), &other, keeping(out.path()), &original(), &mut |_| {});
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
    let stopped = train::run(
        &mut engine,
        &plan,
        &Noise::endless(),
        &Origin::default(),
        keeping(out.path()),
        &original(),
        &mut |_| {},
    );
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
    train::run(&mut engine, &plan, &Same, &Origin::default(), keeping(out.path()), &original(), &mut |_| {}).unwrap();
    let losses = MetricsLog::read(&out.path().join("metrics.jsonl")).unwrap();
    assert!(losses[0].loss > 4.0 && losses[39].loss < 0.5, "{} → {}", losses[0].loss, losses[39].loss);
}
