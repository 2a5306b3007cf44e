use std::str::FromStr;

use recipe_core::{Context, Recipe, Rope, Source, SourceKind, Stage, presets};
use tokenizers::Tokenizer;

use super::*;
use crate::data::chronicle;

fn source(glob: &str) -> Source {
    Source::new(SourceKind::Text { glob: glob.to_owned().into() })
}

/// Three stages, the second with text of its own.
fn plan(common: &str, own: &str) -> Plan {
    let stage = Stage { steps: Some(2), length: Some(8), ..Stage::default() };
    let recipe = Recipe {
        name: "Three".into(),
        model: presets::tiny(),
        context: Context { native: None, target: 256 },
        rope: Some(Rope::None),
        attention: None,
        positions: None,
        select: None,
        adapt: None,
        optimizer: None,
        data: vec![source(common)],
        train: vec![stage.clone(), Stage { data: vec![source(own)], ..stage.clone() }, stage],
        eval: vec![],
        allow: vec![],
        device: None,
    };
    recipe.plan().unwrap()
}

#[test]
fn a_stage_reads_its_own_text_and_every_text_is_in_the_digest() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let encoder = {
        let tokenizer = Tokenizer::from_str(&chronicle::tokenizer_json()).unwrap();
        Arc::new(Encoder::new(tokenizer, None, None).unwrap())
    };
    std::fs::write(path("a.txt"), " 10".repeat(40)).unwrap();
    std::fs::write(path("b.txt"), " 20".repeat(5)).unwrap();
    let plan = plan(&path("a.txt"), &path("b.txt"));
    let open = || Corpora::open(&plan, &encoder, &dir.path().join("cache"), &mut |_| {}).unwrap();
    let corpora = open();
    let tokens = |stage: usize| corpora.of(&plan.stages[stage]).unwrap().sequence(0, 0, 8).unwrap().tokens;
    assert_eq!(tokens(0), tokens(2));
    assert_ne!(tokens(0)[0], tokens(1)[0]);
    assert_eq!(corpora.corpora.len(), 2);
    // 2 sequences of 8 tokens from 5: the second source is read over and over, the first is not.
    let notes = corpora.notes(&plan);
    assert!(notes.iter().any(|note| note.contains("b.txt") && note.contains("5 tokens")), "{notes:#?}");
    let before = corpora.digest();
    assert_eq!(before, open().digest());
    std::fs::write(path("b.txt"), " 21".repeat(5)).unwrap();
    assert_ne!(before, open().digest());
    let stranger = StagePlan { data: vec![].into(), ..plan.stages[0].clone() };
    assert!(matches!(corpora.of(&stranger), Err(Error::NoSource)));
}
