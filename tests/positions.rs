//! Positions and documents are two inputs: a jump in the positions is no border (methods that skip positions are silently
//! broken wherever one is inferred from the other).

mod common;

use common::recipe;
use context_recipe::Cpu;
use context_recipe::data::{Batch, Rng, positions};
use context_recipe::engine::{Engine, Mode};
use context_recipe::hub::Weights;
use context_recipe::plan::{Form, Positions, Recipe, Rope, Stage, StagePlan, presets};

const LENGTH: usize = 96;

/// The stage of a recipe that trains 96 tokens with these positions, eight times as far as the tiny model sees.
fn stage(positions: Positions) -> StagePlan {
    let model = presets::named("tiny").unwrap();
    let recipe = Recipe {
        context: context_recipe::plan::Context { native: Some(model.context), target: 8 * model.context },
        rope: Some(Rope::Interpolate { scale: 8.0 }),
        positions: Some(positions),
        train: vec![Stage { steps: Some(1), length: Some(LENGTH), ..Stage::default() }],
        ..recipe(model)
    };
    recipe.plan().unwrap_or_else(|faults| panic!("{faults:#?}")).stages[0].clone()
}

fn batch(stage: &StagePlan, first: u32, starts: &[usize]) -> Batch {
    let mut rng = Rng::new(&[3]);
    let tokens = (0..LENGTH).map(|row| if row == 0 { first } else { rng.below(512) as u32 }).collect();
    let mut batch = Batch::sequence(tokens, starts).unwrap();
    positions::apply(&mut batch, stage, 5, &|token| token % 9 == 0);
    batch
}

/// How much the last token's logits move when token 0 changes.
fn influence(stage: &StagePlan, starts: &[usize]) -> f32 {
    let plan = recipe(presets::named("tiny").unwrap()).plan().unwrap();
    let mut engine = Engine::new(Cpu::new(), &plan, &Weights::new(), 0, Mode::Infer).unwrap();
    let mut last = |first| {
        let logits = engine.logits(&batch(stage, first, starts)).unwrap();
        logits[logits.len() - plan.model.vocab..].to_vec()
    };
    let (one, other) = (last(7), last(8));
    one.iter().zip(other).fold(0.0, |most, (a, b)| most.max((a - b).abs()))
}

#[test]
fn the_first_token_reaches_the_last_of_its_document_and_no_further() {
    let schemes = [
        Positions::Contiguous,
        Positions::LongRecipe { keep: None },
        Positions::Pose { chunks: None, form: None },
        Positions::Pose { chunks: Some(2), form: Some(Form::Code) },
        Positions::Cream { sigma: None },
        Positions::E2 { scale_max: Some(8) },
        Positions::Random,
    ];
    for scheme in schemes {
        let stage = stage(scheme);
        let skips = batch(&stage, 7, &[0]).positions.windows(2).any(|pair| pair[1] != pair[0] + 1);
        assert_eq!(skips, scheme != Positions::Contiguous, "{scheme:?}");
        assert!(influence(&stage, &[0]) > 1e-6, "{scheme:?}: token 0 is not seen");
        assert_eq!(influence(&stage, &[0, 40]), 0.0, "{scheme:?}: token 0 is seen across a border");
    }
}
