use super::*;
use crate::recipe::{Adapt, Attention, Context, FullLayers, Gates, Recipe, Rope, Sparse, Stage, Window};
use crate::samples::{bare, llama2_128k};

fn rehearsed(change: impl FnOnce(&mut Recipe)) -> Plan {
    let mut recipe = llama2_128k();
    recipe.allow.push("does_not_fit".into());
    change(&mut recipe);
    recipe.plan().unwrap().rehearsal()
}

fn letters(plan: &Plan) -> String {
    plan.layers.iter().map(|p| if *p == Pattern::Full { 'F' } else { '-' }).collect()
}

#[test]
fn the_sample_keeps_its_ratios() {
    let toy = rehearsed(|_| ());
    assert_eq!((toy.model.context, toy.target, toy.block), (256, 8192, 16));
    assert_eq!(toy.rope.scaling, Scaling::Linear { factor: 32.0 });
    assert_eq!(letters(&toy), "--FF--");
    assert_eq!(toy.layers[0], Pattern::Window { window: 256, sink: 4 });
    let AdaptPlan::Lora { rank, alpha, embed: true, norm: true, quantized: true, .. } = toy.adapt else {
        panic!("{:?}", toy.adapt)
    };
    assert_eq!((rank, alpha), (32, 16.0));
    let lengths: Vec<usize> = toy.stages.iter().map(|stage| stage.length).collect();
    assert_eq!(lengths, [256, 512, 1024, 2048, 4096, 8192]);
    let batches: Vec<usize> = toy.stages.iter().map(|stage| stage.batch).collect();
    assert_eq!(batches, [8, 4, 2, 1, 1, 1]);
    assert_eq!(toy.eval[1].lengths().unwrap(), [256, 1024, 2048, 4096, 8192]);
    assert!(toy.notes.is_empty());
}

#[test]
fn large_scales_are_capped_and_it_says_so() {
    let toy = rehearsed(|r| {
        r.context.target = 262_144;
        r.rope = Some(Rope::Interpolate { scale: 64.0 });
    });
    assert_eq!((toy.target, toy.rope.scaling), (8192, Scaling::Linear { factor: 32.0 }));
    assert_eq!(toy.notes[0].rule, "rehearsal_scale");
    assert!(toy.notes[0].message.contains("scale is 64, it is rehearsed at 32"), "{}", toy.notes[0].message);
}

#[test]
fn every_law_stretches_as_far() {
    let law = |rope| rehearsed(|r| r.rope = Some(rope)).rope;
    assert_eq!(law(Rope::None), RopePlan::native(&presets::tiny()));
    assert_eq!(law(Rope::DynamicNtk { scale: 40.0 }).scaling, Scaling::Dynamic { factor: 40.0, original: 256 });
    let yarn =
        Rope::Yarn { scale: 32.0, beta_fast: Some(24.0), beta_slow: None, attention_factor: None, truncate: None };
    let Scaling::Yarn { factor: 32.0, original: 256, beta_fast: 24.0, attention_factor, .. } = law(yarn).scaling else {
        panic!("not the same yarn")
    };
    assert_eq!(attention_factor, yarn_attention_factor(32.0));
    let llama3 = law(Rope::Llama3 { scale: 32.0, low: None, high: None }).scaling;
    assert_eq!(llama3, Scaling::Llama3 { factor: 32.0, low: 1.0, high: 4.0, original: 256 });
    // The slowest pair of both models turns 40 times slower than before.
    let ntk = law(Rope::Ntk { scale: 40.0 });
    let slowest = |rope: &RopePlan| *rope.inv_freq(1).last().unwrap();
    let stretch = slowest(&RopePlan::native(&presets::tiny())) / slowest(&ntk);
    assert!((stretch - 40.0).abs() < 1e-9, "{stretch}");
    let theta = law(Rope::Theta { theta: 500_000.0 });
    let real = rehearsal_source(Rope::Theta { theta: 500_000.0 });
    let native = slowest(&RopePlan::native(&real.model)) / slowest(&real.rope);
    let toy = slowest(&RopePlan::native(&presets::tiny())) / slowest(&theta);
    assert!((native / toy - 1.0).abs() < 1e-9, "{native} {toy}");
}

fn rehearsal_source(rope: Rope) -> Plan {
    let mut recipe = llama2_128k();
    recipe.rope = Some(rope);
    recipe.plan().unwrap()
}

#[test]
fn places_and_shares_of_full_layers() {
    use Place::{Bottom, Interleaved, Middle, Top};
    for (layers, at, expected) in [
        (FullLayers::Count(12), Middle, "--FF--"),
        (FullLayers::Share(0.5), Top, "---FFF"),
        (FullLayers::Share(0.5), Bottom, "FFF---"),
        (FullLayers::Share(1.0 / 3.0), Interleaved, "-F--F-"),
        (FullLayers::Count(31), Middle, "FFFFF-"),
        (FullLayers::Count(1), Middle, "--F---"),
        (FullLayers::Count(32), Middle, "FFFFFF"),
    ] {
        let toy = rehearsed(|r| {
            let sparse = Sparse::Window(Window { window: 64, sink: Some(4), block: None });
            r.attention = Some(Attention::Hybrid { full: layers, place: Some(at), sparse });
        });
        assert_eq!(letters(&toy), expected, "{layers:?} {at:?}");
        if let Some(window) = toy.layers.iter().find(|p| **p != Pattern::Full) {
            assert_eq!(*window, Pattern::Window { window: 16, sink: 4 });
        }
    }
    let window = rehearsed(|r| {
        r.attention = Some(Attention::Sparse(Sparse::Window(Window { window: 2048, sink: None, block: None })))
    });
    assert!(window.layers.iter().all(|p| *p == Pattern::Window { window: 128, sink: 0 }));
    assert_eq!(letters(&rehearsed(|r| r.attention = None)), "FFFFFF");
}

#[test]
fn adapters_keep_their_kind_and_scaling() {
    let toy = rehearsed(|r| {
        r.adapt = Some(Adapt::Lora {
            rank: 256,
            alpha: Some(64.0),
            targets: Some(vec![crate::terms::Target::V]),
            embed: false,
            norm: false,
            quantized: false,
            rslora: false,
            dropout: None,
        });
    });
    let AdaptPlan::Lora { rank: 32, alpha: 8.0, ref targets, quantized: false, .. } = toy.adapt else {
        panic!("{:?}", toy.adapt)
    };
    assert_eq!(**targets, [crate::terms::Target::V]);
    let rule = RehearsalRule::STANDARD;
    assert_eq!(toy.stages[0].lr, rule.lr_lora);
    assert!(toy.stages.windows(2).all(|pair| (pair[1].lr / pair[0].lr - rule.lr_decay).abs() < 1e-12));
    assert_eq!(rehearsed(|r| r.adapt = None).stages[0].lr, rule.lr_full);
}

#[test]
fn what_trains_shorter_is_rehearsed_shorter() {
    let short = rehearsed(|r| r.train[0].length = Some(32_768));
    assert_eq!(short.stages.last().unwrap().length, 2048);
    assert_eq!(short.target, 8192);
    assert!(rehearsed(|r| r.train.clear()).stages.is_empty());
    let odd = rehearsed(|r| {
        r.context = Context { native: Some(4096), target: 40_960 };
        r.rope = Some(Rope::Interpolate { scale: 10.0 });
        r.eval.clear();
        r.train = vec![Stage { steps: Some(10), schedule: Some(Schedule::Cosine), ..Stage::default() }];
    });
    let lengths: Vec<usize> = odd.stages.iter().map(|stage| stage.length).collect();
    assert_eq!(lengths, [256, 512, 1024, 2048, 2560]);
    assert_eq!(odd.stages[4].schedule, Schedule::Cosine);
    assert_eq!(odd.stages[0].schedule, Schedule::Constant);
    assert_eq!(odd.eval[0].lengths().unwrap(), [256, 1024, 2048, 2560]);
}

#[test]
fn gates_are_learned_behind_everything_else() {
    let duo = |r: &mut Recipe| {
        let (sink, recent) = (Some(64), Some(256));
        r.attention = Some(Attention::Duo { gates: Gates::Learned, sparsity: Some(0.75), sink, recent });
        r.train.push(Stage { kind: StageKind::Gates, length: Some(65_536), ..Stage::default() });
    };
    let toy = rehearsed(duo);
    let last = toy.stages.last().unwrap();
    assert_eq!((toy.stages.len(), last.kind, last.length, last.batch), (7, StageKind::Gates, 1024, 2));
    assert_eq!((last.lr, last.steps, last.warmup, last.schedule), (0.02, 300, 60, Schedule::Trapezoid));
    let Learns::Gates { sink: 8, recent: 16, reg: 0.05, .. } = last.learns else { panic!("{:?}", last.learns) };
    assert_eq!(toy.gates, GatesPlan::Learned { sparsity: 0.75, sink: 4, recent: 16 });
    let only = rehearsed(|r| {
        duo(r);
        r.train.remove(0);
        (r.context, r.rope) = (Context { native: None, target: 4096 }, None);
        (r.train[0].length, r.eval) = (None, vec![]);
    });
    assert_eq!((only.target, only.stages.len(), only.stages[0].length, only.stages[0].batch), (256, 1, 256, 8));
}

#[test]
fn a_recipe_that_changes_nothing_is_rehearsed_unchanged() {
    let toy = bare().plan().unwrap().rehearsal();
    assert_eq!((toy.target, toy.rope.clone()), (256, RopePlan::native(&presets::tiny())));
    assert!(toy.stages.is_empty() && toy.notes.is_empty());
}

#[test]
fn the_rule_is_printed_with_its_numbers() {
    let text = RehearsalRule::STANDARD.to_string();
    assert!(text.contains("at most 32; blocks of 16") && text.contains("rank 8 to 32"), "{text}");
}
