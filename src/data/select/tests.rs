use std::str::FromStr;

use recipe_core::TokenType::{self, Adp, Aux, Cconj, Num, Pron};
use tokenizers::Tokenizer;

use super::*;
use crate::data::chronicle;
use crate::data::source::Format;

fn encoder(json: &str) -> Arc<Encoder> {
    Arc::new(Encoder::new(Tokenizer::from_str(json).unwrap(), None, None).unwrap())
}

/// One token for each printable character, as unlike the embedded tokenizer as can be.
fn letters() -> Arc<Encoder> {
    let vocab: serde_json::Map<String, serde_json::Value> =
        (32..127_u8).chain([b'\n']).enumerate().map(|(id, c)| ((c as char).to_string(), id.into())).collect();
    let tokenizer = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "[\\s\\S]"}, "behavior": "Isolated", "invert": false},
        "post_processor": null, "decoder": {"type": "Fuse"},
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "~"},
    });
    encoder(&tokenizer.to_string())
}

/// SentencePiece's way: a word carries the space before it, and a decoder takes the first one of a text off.
fn pieces() -> Arc<Encoder> {
    let words = ["▁a", "▁he", "ro", "▁and", "▁the", "▁old", "▁mill", ".", "▁saw", "▁it", "▁h", "<unk>"];
    let all = words.into_iter().chain(["▁", "h", "e", "r", "o"]).enumerate();
    let vocab: serde_json::Map<String, serde_json::Value> =
        all.map(|(id, word)| (word.to_owned(), id.into())).collect();
    let tokenizer = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": true},
            {"type": "Punctuation", "behavior": "Isolated"}
        ]},
        "post_processor": null,
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}
        ]},
        "model": {
            "type": "BPE", "vocab": vocab, "merges": [["▁", "h"], ["▁h", "e"], ["r", "o"]], "unk_token": "<unk>",
            "ignore_merges": true
        },
    });
    encoder(&tokenizer.to_string())
}

fn embedded() -> Arc<Encoder> {
    encoder(&chronicle::tokenizer_json())
}

fn impactful(types: &[TokenType], keep: f64, form: Form) -> SelectPlan {
    SelectPlan::Impactful { types: types.to_vec().into(), keep, form }
}

/// A store of files, one for each text.
struct Files {
    dir: tempfile::TempDir,
    encoder: Arc<Encoder>,
}

impl Files {
    fn new(encoder: Arc<Encoder>, texts: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (number, text) in texts.iter().enumerate() {
            std::fs::write(dir.path().join(format!("{number:02}.txt")), text).unwrap();
        }
        Self { dir, encoder }
    }

    fn select(&self, plan: &SelectPlan) -> Selected {
        let (glob, cache) = (self.dir.path().join("*.txt").display().to_string(), self.dir.path().join("cache"));
        let store =
            Store::open(&crate::data::source::files(&glob).unwrap(), &Format::Text, &self.encoder, &cache, &mut |_| {})
                .unwrap();
        Selected::new(store, plan, &self.encoder).unwrap()
    }

    /// What stays of the first text.
    fn left(&self, plan: &SelectPlan) -> String {
        let selected = self.select(plan);
        self.encoder.tokenizer().decode(&whole(&selected, 0), false).unwrap()
    }
}

fn whole(selected: &Selected, document: usize) -> Vec<u32> {
    let mut tokens = Vec::new();
    selected.read(document, 0, selected.length(document) as usize, &mut tokens).unwrap();
    tokens
}

#[test]
fn sentences_with_a_wanted_word_stay() {
    let text = " the old mill . there were 47 men ! the hero and the river ?! who saw the mill .\n\n the end";
    for encoder in [embedded(), letters()] {
        let files = Files::new(encoder, &[text]);
        let left = |types: &[TokenType]| files.left(&impactful(types, 0.0, Form::Paper));
        assert_eq!(left(&[Num]), " there were 47 men !");
        assert_eq!(left(&[Aux]), " there were 47 men !");
        assert_eq!(left(&[Cconj]), " the hero and the river ?!");
        // The `he` of `hero` is no pronoun, and empty lines stay with what they follow.
        assert_eq!(left(&[Pron]), " who saw the mill .\n\n");
        assert_eq!(left(&[Num, Pron]), " there were 47 men ! who saw the mill .\n\n");
        assert_eq!(left(&[Adp]), "");
    }
}

#[test]
fn a_decoder_that_drops_spaces_hides_no_border() {
    let files = Files::new(pieces(), &["the hero saw the mill. he saw the hero. it and the mill."]);
    let left = |types: &[TokenType]| files.left(&impactful(types, 0.0, Form::Paper));
    assert_eq!(left(&[Pron]), "he saw the hero. it and the mill.");
    assert_eq!(left(&[Cconj]), "it and the mill.");
}

#[test]
fn a_full_stop_inside_a_number_ends_nothing() {
    let files = Files::new(letters(), &["It is 3.5 m long. We saw b.c here.\nNo."]);
    assert_eq!(files.left(&impactful(&[Num], 0.0, Form::Paper)), "It is 3.5 m long.");
    assert_eq!(files.left(&impactful(&[Pron], 0.0, Form::Paper)), "It is 3.5 m long. We saw b.c here.\n");
}

#[test]
fn the_released_program_looks_for_digits() {
    let files = Files::new(letters(), &["Two men. In 12 days. Mills."]);
    assert_eq!(files.left(&impactful(&[Num], 0.0, Form::Paper)), "Two men. In 12 days.");
    assert_eq!(files.left(&impactful(&[Num], 0.0, Form::Code)), " In 12 days.");
    assert_eq!(files.left(&SelectPlan::All), "Two men. In 12 days. Mills.");
}

#[test]
fn a_share_of_the_others_stays_and_it_is_always_the_same() {
    let text: String = (0..4000).map(|n| if n % 4 == 0 { " A 7 a." } else { " Old b." }).collect();
    let files = Files::new(letters(), &[&text]);
    let half = impactful(&[Num], 0.5, Form::Code);
    let left = files.left(&half);
    assert_eq!(left.matches(" A 7 a.").count(), 1000);
    assert!(left.matches(" Old b.").count().abs_diff(1500) < 100);
    assert_eq!(left, files.left(&half));
}

/// Long sentences, sentences over the borders of what is read at once, one that is longer than that.
#[test]
fn any_part_is_a_part_of_the_whole() {
    let mut rng = Rng::new(&[3]);
    let mut text = String::new();
    while text.len() < 3 * CHUNK {
        let word = ["old ", "47 ", "and ", "mill. ", "river\n"][rng.below(5)];
        text += &word.repeat(1 + rng.below(4));
        if rng.chance(1) {
            text += &"long ".repeat(rng.below(4000));
        }
    }
    text += &"never ".repeat(CHUNK / 4);
    text += "47. Then nothing. And 5.";
    let files = Files::new(letters(), &[&text]);
    let selected = files.select(&impactful(&[Num], 0.3, Form::Paper));
    let whole = whole(&selected, 0);
    assert_eq!(whole.len() as u64, selected.tokens);
    assert!(selected.kept[0].marks.len() > 2 && selected.share().unwrap() < 0.95);
    for _ in 0..300 {
        let from = rng.below(whole.len());
        let count = rng.below((whole.len() - from).min(3000) + 1);
        let mut part = vec![9];
        selected.read(0, from as u64, count, &mut part).unwrap();
        assert_eq!(part[1..], whole[from..from + count]);
    }
}

#[test]
fn documents_of_which_nothing_stays_are_not_read() {
    let files = Files::new(letters(), &["No mill.", "In 1843. A mill.", "9"]);
    let selected = files.select(&impactful(&[Num], 0.0, Form::Paper));
    assert_eq!(selected.documents().collect::<Vec<_>>(), [1, 2]);
    assert_eq!((selected.length(0), selected.length(1), selected.tokens), (0, 8, 9));
    assert_eq!(files.select(&SelectPlan::All).documents().count(), 3);
}
