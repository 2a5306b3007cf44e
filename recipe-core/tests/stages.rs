//! What the words of `train: […]` settle to.

use recipe_core::{
    Adapt, AdaptPlan, Context, Documents, Form, Merge, MergeForm, MergePlan, Plan, Positions, PositionsPlan, Recipe,
    Rope, Scaling, Schedule, Select, SelectPlan, Source, SourceKind, Stage, StageKind, TokenType, presets,
};

fn recipe(rope: Rope, train: Vec<Stage>) -> Recipe {
    Recipe {
        name: "Stages".into(),
        model: presets::llama2_7b(),
        context: Context { native: Some(4096), target: 32_768 },
        rope: Some(rope),
        attention: None,
        positions: None,
        select: None,
        adapt: None,
        optimizer: None,
        data: vec![source("long/*.txt")],
        train,
        eval: vec![],
        allow: vec![],
        device: None,
    }
}

fn source(glob: &'static str) -> Source {
    Source::new(SourceKind::Text { glob: glob.into() })
}

fn plan(rope: Rope, train: Vec<Stage>) -> Plan {
    recipe(rope, train).plan().unwrap_or_else(|faults| panic!("{faults:#?}"))
}

fn steps() -> Stage {
    Stage { steps: Some(100), ..Stage::default() }
}

#[test]
fn a_replay_is_short_and_gentle() {
    let replay = Stage { kind: StageKind::Replay, data: vec![source("short/*.txt")], ..steps() };
    let recipe = Recipe {
        positions: Some(Positions::Random),
        ..recipe(Rope::Interpolate { scale: 8.0 }, vec![steps(), replay])
    };
    let plan = recipe.plan().unwrap();
    let [extend, replay] = &plan.stages[..] else { panic!("two stages") };
    assert_eq!((extend.positions, extend.reach, extend.lr), (PositionsPlan::Random, 32_768, 2e-5));
    assert_eq!((replay.positions, replay.reach, replay.length), (PositionsPlan::Contiguous, 4096, 4096));
    assert_eq!((replay.lr, replay.schedule, replay.kind.word()), (5e-6, Schedule::Constant, "replay"));
    assert_eq!(extend.data, plan.data);
    assert_eq!(replay.data[0].kind, SourceKind::Text { glob: "short/*.txt".into() });
    assert_eq!((extend.seed, replay.seed), (0, 1));
    assert!(plan.notes.iter().all(|note| note.rule != "positions_without_gaps"));
}

#[test]
fn a_selection_is_for_extending_and_its_form_decides_the_defaults() {
    let replay = Stage { kind: StageKind::Replay, data: vec![source("short/*.txt")], ..steps() };
    let settled = |select| {
        let recipe = recipe(Rope::Interpolate { scale: 8.0 }, vec![steps(), replay.clone()]);
        let plan = Recipe { select, ..recipe }.plan().unwrap();
        assert_eq!(plan.stages[1].select, SelectPlan::All);
        plan.stages[0].select.clone()
    };
    let form = |form, types: &[TokenType], keep| SelectPlan::Impactful { types: types.to_vec().into(), keep, form };
    let impactful = |types, keep, form| Some(Select::Impactful { types, keep, form });
    assert_eq!(settled(None), SelectPlan::All);
    let usual = [TokenType::Num, TokenType::Pron, TokenType::Aux];
    assert_eq!(settled(impactful(None, None, None)), form(Form::Paper, &usual, 0.0));
    assert_eq!(settled(impactful(None, None, Some(Form::Code))), form(Form::Code, &[TokenType::Num], 0.5));
    let types = Some(vec![TokenType::Adp, TokenType::Num, TokenType::Adp]);
    let sorted = form(Form::Paper, &[TokenType::Num, TokenType::Adp], 0.25);
    assert_eq!(settled(impactful(types, Some(0.25), None)), sorted);
}

#[test]
fn an_annealing_falls_from_its_first_step() {
    let plan = plan(Rope::Interpolate { scale: 8.0 }, vec![Stage { kind: StageKind::Anneal, ..steps() }]);
    let anneal = &plan.stages[0];
    assert_eq!((anneal.warmup, anneal.schedule, anneal.length), (0, Schedule::Linear, 32_768));
}

#[test]
fn a_stage_changes_the_recipes_law_and_nothing_else() {
    let ladder = |stage: Stage| vec![stage, steps()];
    let theta = |rope| plan(rope, ladder(Stage { theta: Some(1e6), ..steps() }));
    let scale = |rope| plan(rope, ladder(Stage { scale: Some(16.0), ..steps() }));
    let based = theta(Rope::Theta { theta: 5e6 });
    assert_eq!((based.stages[0].rope.theta, based.stages[1].rope.theta, based.rope.theta), (1e6, 5e6, 5e6));
    let yarn =
        Rope::Yarn { scale: 8.0, beta_fast: Some(24.0), beta_slow: None, attention_factor: None, truncate: None };
    let based = theta(yarn.clone());
    assert_eq!(based.stages[0].rope.scaling, based.rope.scaling);
    let Scaling::Yarn { factor, beta_fast, attention_factor, .. } = scale(yarn).stages[0].rope.scaling else {
        panic!("yarn stays yarn")
    };
    assert_eq!((factor, beta_fast), (16.0, 24.0));
    assert!((attention_factor - (0.1 * 16.0_f64.ln() + 1.0)).abs() < 1e-12);
    let ntk = scale(Rope::Ntk { scale: 20.0 });
    assert_eq!(ntk.stages[0].rope, plan(Rope::Ntk { scale: 16.0 }, vec![]).rope);
    assert_eq!(ntk.stages[1].rope, ntk.rope);
}

#[test]
fn a_merge_belongs_to_the_stage_before_it() {
    let merge = |form| Some(Merge { base: None, form });
    let stages = vec![
        Stage { merge: merge(None), documents: Some(Documents::Joined), ..steps() },
        Stage { merge: merge(Some(MergeForm::Spherical)), ..steps() },
        steps(),
    ];
    let plan = plan(Rope::Interpolate { scale: 8.0 }, stages);
    let found: Vec<MergePlan> = plan.stages.iter().map(|stage| stage.merge).collect();
    assert_eq!(found, [MergePlan::Linear { base: 0.5 }, MergePlan::Spherical { base: 0.5 }, MergePlan::None]);
    assert_eq!(plan.stages[0].documents, Documents::Joined);
    assert_eq!(plan.stages[1].documents, Documents::Mask);
}

#[test]
fn a_rehearsal_follows_the_longest_stage_under_the_recipes_rope() {
    let replay =
        Stage { kind: StageKind::Replay, merge: Some(Merge::default()), data: vec![source("short/*.txt")], ..steps() };
    let extend = Stage { scale: Some(16.0), documents: Some(Documents::Joined), ..steps() };
    let toy = plan(Rope::Interpolate { scale: 8.0 }, vec![extend, replay]).rehearsal();
    let lengths: Vec<usize> = toy.stages.iter().map(|stage| stage.length).collect();
    assert_eq!(lengths, [256, 512, 1024, 2048]);
    assert!(toy.stages.iter().all(|stage| stage.rope == toy.rope && stage.documents == Documents::Joined));
    let merges = toy.stages.iter().filter(|stage| stage.merge != MergePlan::None).count();
    assert_eq!((merges, toy.stages[3].merge), (1, MergePlan::Linear { base: 0.5 }));
}

#[test]
fn rslora_divides_by_the_root_of_the_rank() {
    let adapted = |alpha, rslora| {
        let (targets, rank) = (None, 64);
        let adapt =
            Adapt::Lora { rank, alpha, targets, embed: true, norm: true, quantized: false, rslora, dropout: None };
        let plan =
            Recipe { adapt: Some(adapt), ..recipe(Rope::Interpolate { scale: 8.0 }, vec![steps()]) }.plan().unwrap();
        let of = |adapt: &AdaptPlan| match adapt {
            AdaptPlan::Lora { alpha, scale, .. } => (*alpha, *scale),
            AdaptPlan::Full => panic!("adapters"),
        };
        (of(&plan.adapt), of(&plan.rehearsal().adapt))
    };
    assert_eq!(adapted(Some(16.0), false), ((16.0, 0.25), (8.0, 0.25)));
    assert_eq!(adapted(Some(16.0), true).0, (16.0, 2.0));
    // At the rehearsal's rank, 32, the same scale.
    assert_eq!(adapted(Some(16.0), true).1, (2.0 * 32.0_f64.sqrt(), 2.0));
    assert_eq!((adapted(None, false).0, adapted(None, true).0), ((128.0, 2.0), (16.0, 2.0)));
}
