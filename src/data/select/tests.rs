use std::str::FromStr;
use std::time::Instant;

use recipe_core::TokenType;
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
    let words =
        ["▁a", "▁he", "ro", "▁hero", "▁and", "▁the", "▁old", "▁mill", ".", "▁river", "▁saw", "▁it", "▁", "r", "<unk>"];
    let vocab: serde_json::Map<String, serde_json::Value> =
        words.iter().enumerate().map(|(id, word)| ((*word).to_owned(), id.into())).collect();
    let tokenizer = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": true},
        "post_processor": null,
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}
        ]},
        "model": {"type": "BPE", "vocab": vocab, "merges": [], "unk_token": "<unk>", "ignore_merges": true},
    });
    encoder(&tokenizer.to_string())
}

fn embedded() -> Arc<Encoder> {
    encoder(&chronicle::tokenizer_json())
}

fn impactful(types: &[TokenType], keep: f64, form: Form) -> SelectPlan {
    SelectPlan::Impactful { types: types.to_vec().into(), keep, form }
}

#[test]
fn speed() {
    let dir = tempfile::tempdir().unwrap();
    for encoder in [embedded(), letters()] {
        let text = " the night was long . he saw 47 of them and the old mill of brenton .".repeat(60_000);
        std::fs::write(dir.path().join("a.txt"), &text).unwrap();
        let store = Store::open(
            &dir.path().join("*.txt").display().to_string(),
            &Format::Text,
            &encoder,
            dir.path(),
            &mut |_| {},
        )
        .unwrap();
        let n = store.tokens;
        encoder.vocabulary();
        let at = Instant::now();
        let s = Selected::new(store, &impactful(&[TokenType::Cconj], 0.5, Form::Paper), &encoder).unwrap();
        eprintln!("{n} tokens {:?} {:?}", at.elapsed(), s.share());
    }
}
