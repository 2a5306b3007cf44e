//! The embedded tokenizer, built from the word list: byte-level BPE without a merge, so nothing in it was trained.
//!
//! `ignore_merges` (as in Llama 3's tokenizer) takes a whole word that stands in the vocabulary as one token; any other
//! text falls back to its bytes, so every text can be encoded and comes back unchanged.

use serde_json::{Map, Value, json};

use super::lexicon;

/// Tokens in the embedded tokenizer: 256 bytes, two specials, the words of the chronicles.
pub const VOCAB: usize = 512;

/// Begins a text.
pub const BOS: &str = "<bos>";
/// Ends a text.
pub const EOS: &str = "<eos>";

/// `tokenizer.json` in Hugging Face's format.
pub fn tokenizer_json() -> String {
    let special = |id: usize, content: &str| {
        json!({ "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true })
    };
    let bytes = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": true });
    let first = json!({ "SpecialToken": { "id": BOS, "type_id": 0 } });
    let text = |which: &str, type_id: usize| json!({ "Sequence": { "id": which, "type_id": type_id } });
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [special(0, BOS), special(1, EOS)],
        "normalizer": null,
        "pre_tokenizer": bytes,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [first, text("A", 0)],
            "pair": [first, text("A", 0), text("B", 1)],
            "special_tokens": { BOS: { "id": BOS, "ids": [0], "tokens": [BOS] } },
        },
        "decoder": bytes,
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": true,
            "vocab": vocabulary(),
            "merges": [],
        },
    });
    pretty(&tokenizer)
}

/// `tokenizer_config.json` beside it.
pub fn tokenizer_config_json() -> String {
    pretty(&json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": EOS,
        "pad_token": EOS,
        "add_bos_token": true,
        "add_eos_token": false,
        "clean_up_tokenization_spaces": false,
        "model_max_length": 256,
    }))
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

fn vocabulary() -> Map<String, Value> {
    let specials = [BOS, EOS].map(str::to_owned);
    let bytes = byte_letters().into_iter().map(String::from);
    let words = lexicon::words().map(|word| format!("Ġ{word}"));
    let tokens = specials.into_iter().chain(bytes).chain(words);
    tokens.enumerate().map(|(id, token)| (token, id.into())).collect()
}

/// GPT-2's printable letter for each byte: printable Latin-1 stands for itself, the others follow from U+0100.
fn byte_letters() -> [char; 256] {
    let mut spare = 0x100..;
    std::array::from_fn(|byte| {
        let byte = byte as u8;
        let printable = matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
        if printable { char::from(byte) } else { spare.next().and_then(char::from_u32).unwrap_or('\u{fffd}') }
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::str::FromStr;

    use tokenizers::Tokenizer;

    use super::*;
    use crate::data::Rng;

    fn tokenizer() -> Tokenizer {
        Tokenizer::from_str(&tokenizer_json()).unwrap()
    }

    #[test]
    fn the_vocabulary_is_full_and_each_word_is_one_token() {
        let tokenizer = tokenizer();
        assert_eq!(tokenizer.get_vocab_size(true), VOCAB);
        assert_eq!(vocabulary().len(), VOCAB, "a word stands twice");
        for word in lexicon::words() {
            let ids = tokenizer.encode(format!(" {word}"), false).unwrap();
            assert_eq!(ids.get_ids().len(), 1, "{word}");
        }
    }

    #[test]
    fn any_text_comes_back() {
        let tokenizer = tokenizer();
        let mut rng = Rng::new(&[3]);
        for _ in 0..200 {
            let bytes: Vec<u8> = (0..rng.below(64)).map(|_| rng.bits() as u8).collect();
            let text = String::from_utf8_lossy(&bytes).into_owned() + " the key  of\n\tMira's \u{1f511} ";
            let ids = tokenizer.encode(text.as_str(), true).unwrap();
            assert_eq!(ids.get_ids()[0], 0);
            assert_eq!(tokenizer.decode(ids.get_ids(), true).unwrap(), text);
        }
    }

    #[test]
    fn every_byte_has_a_token() {
        let letters = byte_letters();
        let vocabulary = vocabulary();
        assert!(letters.iter().all(|letter| vocabulary.contains_key(&letter.to_string())));
        assert_eq!(letters[usize::from(b' ')], 'Ġ');
        assert_eq!(letters[usize::from(b'\n')], 'Ċ');
    }

    #[test]
    fn the_committed_assets_are_what_the_code_makes() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/tiny");
        for (name, made) in [("tokenizer.json", tokenizer_json()), ("tokenizer_config.json", tokenizer_config_json())] {
            assert_eq!(std::fs::read_to_string(root.join(name)).unwrap(), made, "{name}");
        }
    }
}
