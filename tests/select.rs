//! Selected text as training reads it: filled to the budget, positions for exactly what is used, resumed bit for bit.

mod common;

use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use common::{recipe, reference, tiny_llama, weights};
use context_recipe::Cpu;
use context_recipe::data::{Batch, Corpora, Encoder, Error};
use context_recipe::engine::{Engine, Mode};
use context_recipe::hub::Weights;
use context_recipe::plan::{
    Adapt, Context, Plan, Positions, Recipe, Rope, Select, Source, SourceKind, Stage, StagePlan, TokenType,
};
use context_recipe::train::{self, Keeping, Origin, Sequences};
use tokenizers::Tokenizer;

const TARGET: usize = 256;

/// One token for each printable character: the tiny Llama has 97.
fn encoder() -> Arc<Encoder> {
    let vocab: serde_json::Map<String, serde_json::Value> =
        (32..127_u8).map(|c| ((c as char).to_string(), (c - 32).into())).collect();
    let tokenizer = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "."}, "behavior": "Isolated", "invert": false},
        "post_processor": null, "decoder": {"type": "Fuse"},
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "~"},
    });
    Arc::new(Encoder::new(Tokenizer::from_str(&tokenizer.to_string()).unwrap(), None, None).unwrap())
}

/// Half of the sentences have a number.
fn text(document: usize, sentences: usize) -> String {
    let sentence = |n: usize| if n.is_multiple_of(2) { format!(" D{document}n{n}.") } else { " Old mill.".to_owned() };
    (0..sentences).map(sentence).collect()
}

fn plan(dir: &Path, keep: f64) -> Plan {
    let glob = dir.join("*.txt").display().to_string().into();
    let recipe = Recipe {
        context: Context { native: Some(64), target: TARGET },
        rope: Some(Rope::Interpolate { scale: 4.0 }),
        positions: Some(Positions::LongRecipe { keep: Some(0.25) }),
        select: Some(Select::Impactful { types: Some(vec![TokenType::Num]), keep: Some(keep), form: None }),
        adapt: Some(Adapt::Full),
        data: vec![Source::new(SourceKind::Text { glob })],
        train: vec![Stage { steps: Some(5), batch: Some(2), lr: Some(1e-2), warmup: Some(1), ..Stage::default() }],
        ..recipe(tiny_llama())
    };
    recipe.plan().unwrap_or_else(|faults| panic!("{faults:#?}"))
}

fn corpora(plan: &Plan, dir: &Path) -> Corpora {
    Corpora::open(plan, &encoder(), &dir.join("cache"), &mut |_| {}).unwrap()
}

fn written(batch: &Batch) -> String {
    batch.tokens.iter().map(|&token| char::from(token as u8 + 32)).collect()
}

#[test]
fn sequences_are_filled_with_what_stays_and_lose_nothing_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let sentences = |document: usize| 9 + 4 * document;
    for document in 0..7 {
        fs::write(dir.path().join(format!("{document}.txt")), text(document, sentences(document))).unwrap();
    }
    let plan = plan(dir.path(), 0.0);
    let (stage, corpora) = (&plan.stages[0], corpora(&plan, dir.path()));
    let kept = |document: usize| text(document, sentences(document)).replace(" Old mill.", "");
    let epoch: usize = (0..7).map(|document| kept(document).len()).sum();
    let mut row = String::new();
    for index in 0..(2 * epoch).div_ceil(stage.length) as u64 {
        let batch = train::sequence(&corpora, stage, index).unwrap();
        assert_eq!((batch.len(), stage.length), (64, 64));
        row += &written(&batch);
    }
    for epoch in [&row[..epoch], &row[epoch..2 * epoch]] {
        for document in 0..7 {
            assert_eq!(epoch.matches(&kept(document)).count(), 1, "{document} in {epoch}");
        }
    }
    let notes = corpora.notes(&plan);
    assert!(notes.iter().any(|note| note.contains("select keeps")), "{notes:#?}");
}

/// The released program draws positions for text that it then drops, and never trains the upper part of the window.
#[test]
fn positions_are_drawn_for_what_is_used() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.txt"), text(0, 2000)).unwrap();
    let plan = plan(dir.path(), 0.0);
    let (stage, corpora) = (&plan.stages[0], corpora(&plan, dir.path()));
    let (mut last, count) = (0.0, 100_u32);
    for index in 0..u64::from(count) {
        let batch = train::sequence(&corpora, stage, index).unwrap();
        let letters = written(&batch);
        for row in 1..batch.len() {
            let jumps = batch.positions[row] != batch.positions[row - 1] + 1;
            assert!(!jumps || letters.as_bytes()[row - 1] == b'.', "{letters}");
        }
        last += f64::from(batch.positions[batch.len() - 1]) / TARGET as f64 / f64::from(count);
    }
    assert!((0.8..1.0).contains(&last), "{last}");
}

/// Stops the run when so many sequences have been read.
struct Fused(Corpora, Cell<u64>);

impl Sequences for Fused {
    fn sequence(&self, stage: &StagePlan, index: u64) -> Result<Batch, Error> {
        let left = self.1.get().checked_sub(1).ok_or(Error::NoSource)?;
        self.1.set(left);
        self.0.sequence(stage, index)
    }

    fn ends_sentence(&self, token: u32) -> bool {
        self.0.ends_sentence(token)
    }
}

#[test]
fn a_run_on_selected_text_resumes_bit_for_bit() {
    let dir = tempfile::tempdir().unwrap();
    for document in 0..5 {
        fs::write(dir.path().join(format!("{document}.txt")), text(document, 20)).unwrap();
    }
    let plan = plan(dir.path(), 0.4);
    let run = |out: &Path, fuse: u64| -> Result<Weights, train::Error> {
        let mut engine = Engine::new(Cpu::new(), &plan, &weights(&reference()), 5, Mode::Train).unwrap();
        let sequences = Fused(corpora(&plan, dir.path()), Cell::new(fuse));
        let (origin, keeping) = (Origin::default(), Keeping { out, every: 1, keep: 2, stop: || false });
        let original = weights(&reference());
        train::run(&mut engine, &plan, &sequences, &origin, keeping, &original, &mut |_| {})?;
        Ok(engine.trained())
    };
    let (straight, broken) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let whole = run(straight.path(), u64::MAX).unwrap();
    assert!(run(broken.path(), 5).is_err());
    let resumed = run(broken.path(), u64::MAX).unwrap();
    let bits = |weights: &Weights| -> Vec<u32> {
        weights.iter().flat_map(|(_, tensor)| tensor.data.iter().map(|x| x.to_bits()).collect::<Vec<_>>()).collect()
    };
    assert_eq!(bits(&whole), bits(&resumed));
}
