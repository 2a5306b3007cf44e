//! Every evaluation on the embedded model: what it knows within its window of 256 tokens, and loses beyond.

use std::path::Path;

use context_recipe::Cpu;
use context_recipe::data::Encoder;
use context_recipe::engine::{Engine, Mode};
use context_recipe::eval::{self, ChoiceQuestion, KMaxTest};
use context_recipe::plan::{Context, Needle, Plan, Recipe};
use context_recipe::rehearse::Base;

const NATIVE: usize = 256;

fn plan(base: &Base) -> Plan {
    let recipe = Recipe {
        name: "Test".to_owned(),
        model: base.model.clone(),
        context: Context { native: None, target: NATIVE },
        rope: None,
        attention: None,
        positions: None,
        select: None,
        adapt: None,
        optimizer: None,
        data: vec![],
        train: vec![],
        eval: vec![],
        allow: vec![],
        device: None,
    };
    recipe.plan().unwrap()
}

fn embedded() -> (Engine<Cpu>, Encoder) {
    let base = Base::embedded().unwrap();
    let engine = Engine::new(Cpu::new(), &plan(&base), &base.weights, 0, Mode::Infer).unwrap();
    (engine, base.encoder().unwrap())
}

#[test]
fn the_effective_window_is_the_native_one() {
    let (mut engine, encoder) = embedded();
    let tested = KMaxTest { distances: 32, trials: 10, success: 0.2 };
    let mut read = 0;
    let found = eval::k_max(&mut engine, &encoder, 1024, tested, 0, &mut |done| read = done).unwrap();
    let (last, before) = found.distances.split_last().unwrap();
    assert!(!last.passed && before.iter().all(|row| row.passed), "{found:?}");
    assert!(before.iter().all(|row| row.marks.correct == 2), "{found:?}");
    assert_eq!(read, found.protocol.documents);
    assert!((NATIVE / 2..=2 * NATIVE).contains(&found.k_max), "{}", found.k_max);
}

#[test]
fn needles_are_found_within_the_window_and_not_beyond() {
    let (mut engine, encoder) = embedded();
    for (kind, trials) in [(Needle::Single, 4), (Needle::MultiKey, 4), (Needle::MultiQuery, 4), (Needle::MultiValue, 4)]
    {
        let mut share = |context| {
            let rows = eval::needle(&mut engine, &encoder, kind, context, 4, 0, &mut |_| {}).unwrap();
            assert_eq!(rows.len(), 5);
            assert!(rows.iter().all(|row| row.marks.trials == trials), "{rows:?}");
            // The needle just before its question is near at any length.
            let far = rows.iter().filter(|row| row.depth < 1.0);
            let sum = far.fold((0, 0), |sum, row| (sum.0 + row.marks.tokens_correct, sum.1 + row.marks.tokens));
            sum.0 as f64 / sum.1 as f64
        };
        let (near, far) = (share(NATIVE), share(8 * NATIVE));
        // The next of several values is never the one said last, which is all that induction alone looks up.
        assert!(kind == Needle::MultiValue || near > 0.8, "{kind:?}: {near}");
        assert!(far < 0.2, "{kind:?}: {far}");
    }
}

#[test]
fn the_first_topic_is_asked_of_each_document() {
    let (mut engine, encoder) = embedded();
    let found = eval::topic(&mut engine, &encoder, 512, 6, 0, &mut |_| {}).unwrap();
    assert_eq!((found.topics, found.marks.trials, found.marks.tokens), (5, 6, 12));
}

#[test]
fn the_likelier_choice_wins() {
    let (mut engine, encoder) = embedded();
    let question = |question: &str, choices: [&str; 3], answer| ChoiceQuestion {
        question: question.to_owned(),
        choices: choices.map(str::to_owned).to_vec(),
        answer,
        line: 7,
    };
    let asked = [
        question(" then the night comes", ["copper .", "again .", "of the mill ."], 1),
        question(" the key of ada 47 . the key of otto 12 . what is the key of ada", ["12 .", "33 .", "47 ."], 2),
        question(" in the morning the people", ["golden", "work at the mill", "47"], 0),
    ];
    let path = Path::new("q.jsonl");
    let found = eval::choice(&mut engine, &encoder, path, &asked, NATIVE, &mut |_| {}).unwrap();
    assert_eq!((found.correct, found.questions), (2, 3));
    assert!((found.chance - 1.0 / 3.0).abs() < 1e-12 && (found.accuracy - 2.0 / 3.0).abs() < 1e-12);
    let said = eval::choice(&mut engine, &encoder, path, &asked[..1], 4, &mut |_| {}).unwrap_err().to_string();
    assert!(said.contains("q.jsonl:7: ") && said.contains("target is 4"), "{said}");
}
