//! A `tokenizer.json` as `tokenizer.ggml.*`: byte-level BPE as `gpt2`, SentencePiece's kind of BPE as `llama`.

use std::collections::HashMap;

use serde_json::Value;

use super::draft::{Draft, Meta};
use crate::hub::error::Error;
use crate::hub::tokenizer::{LLAMA3, QWEN2, Special, Tokenizer};

/// `llama_token_type`.
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;
const BYTE: i32 = 6;

/// Adds the vocabulary, filled up to the embedding's `rows`; false, with a note, when llama.cpp has no such tokenizer.
pub(super) fn add(
    draft: &mut Draft<'_>,
    tokenizer: &Tokenizer,
    rows: usize,
    notes: &mut Vec<String>,
) -> Result<bool, Error> {
    let json: Value = serde_json::from_slice(tokenizer.json()).map_err(Error::json(tokenizer.path()))?;
    let Some(kind) = Kind::of(&json) else {
        notes.push("tokenizer.json is of a kind that is not written as GGUF (only byte-level BPE as of GPT-2, Llama 3, Qwen2 and SmolLM, and SentencePiece BPE are).".into());
        return Ok(false);
    };
    if kind == (Kind::Bytes { pre: "llama-bpe", exact: false }) {
        notes.push(
            "llama.cpp cuts numbers and contractions into words by Llama 3's rule; tokenizer.json does by GPT-2's."
                .into(),
        );
    }
    let tokens = spellings(&json, rows);
    draft.set("tokenizer.ggml.model", Meta::Text(if kind == Kind::Pieces { "llama" } else { "gpt2" }.into()));
    let merges = merges(&json);
    match kind {
        Kind::Bytes { pre, .. } => {
            draft.set("tokenizer.ggml.pre", Meta::Text(pre.into()));
            let joined = merges.iter().map(|(left, right)| format!("{left} {right}"));
            draft.set("tokenizer.ggml.merges", Meta::Texts(joined.collect()));
        }
        Kind::Pieces => {
            draft.set("tokenizer.ggml.pre", Meta::Text("default".into()));
            draft.set("tokenizer.ggml.scores", Meta::Floats(scores(&tokens, &merges)));
            draft.set("tokenizer.ggml.add_space_prefix", Meta::Flag(leading_space(&json)));
        }
    }
    draft.set("tokenizer.ggml.token_type", Meta::Integers(types(&json, &tokens, kind)));
    draft.set("tokenizer.ggml.tokens", Meta::Texts(filled(tokens)));
    set_ids(draft, tokenizer, &json)?;
    Ok(true)
}

/// What llama.cpp calls a tokenizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// `gpt2`, with the rule that cuts a text into words; not exact where llama.cpp's rule is only nearly the same.
    Bytes { pre: &'static str, exact: bool },
    /// `llama`.
    Pieces,
}

impl Kind {
    fn of(json: &Value) -> Option<Self> {
        let model = &json["model"];
        if model["type"].as_str().is_some_and(|kind| kind != "BPE") {
            return None;
        }
        if model["byte_fallback"] == true {
            return Some(Self::Pieces);
        }
        let whole_words = model["ignore_merges"] == true;
        let exact = |pre, wanted: bool| (whole_words == wanted).then_some(Self::Bytes { pre, exact: true });
        match &steps(&json["pre_tokenizer"])[..] {
            [split, bytes] if regex(split) == Some(LLAMA3) && levels(bytes, false) => exact("llama-bpe", true),
            [split, bytes] if regex(split) == Some(QWEN2) && levels(bytes, false) => exact("qwen2", false),
            [digits, bytes] if digits["individual_digits"] == true && levels(bytes, true) => exact("smollm", false),
            // Only Llama 3's rule takes whole words before any merge.
            [bytes] if levels(bytes, true) && whole_words => Some(Self::Bytes { pre: "llama-bpe", exact: false }),
            [bytes] if levels(bytes, true) => exact("gpt-2", false),
            _ => None,
        }
    }
}

/// The pre-tokenizers that follow each other.
fn steps(json: &Value) -> Vec<&Value> {
    match json["pretokenizers"].as_array() {
        Some(steps) => steps.iter().collect(),
        None => vec![json],
    }
}

fn regex(split: &Value) -> Option<&str> {
    split["pattern"]["Regex"].as_str()
}

/// Bytes become letters, after GPT-2's rule or not, and no space is put before a text.
fn levels(step: &Value, cuts: bool) -> bool {
    step["type"] == "ByteLevel"
        && step["use_regex"].as_bool().unwrap_or(true) == cuts
        && step["add_prefix_space"] != true
}

fn added(json: &Value) -> impl Iterator<Item = (usize, &str, bool)> {
    let tokens = json["added_tokens"].as_array().into_iter().flatten();
    tokens.filter_map(|token| {
        Some((token["id"].as_u64()? as usize, token["content"].as_str()?, token["special"] == true))
    })
}

/// The spelling of each row of the embedding, where it has one.
fn spellings(json: &Value, rows: usize) -> Vec<Option<String>> {
    let mut tokens = vec![None; rows];
    let words = json["model"]["vocab"].as_object().into_iter().flatten();
    let words = words.filter_map(|(word, id)| Some((id.as_u64()? as usize, word.as_str())));
    for (id, word) in words.chain(added(json).map(|(id, word, _)| (id, word))) {
        if let Some(token) = tokens.get_mut(id) {
            *token = Some(word.to_string());
        }
    }
    tokens
}

fn filled(tokens: Vec<Option<String>>) -> Vec<String> {
    tokens.into_iter().enumerate().map(|(id, token)| token.unwrap_or_else(|| format!("[PAD{id}]"))).collect()
}

/// Pairs, the first merged first; older files write them with a space between.
fn merges(json: &Value) -> Vec<(&str, &str)> {
    json["model"]["merges"].as_array().into_iter().flatten().filter_map(parts).collect()
}

fn parts(merge: &Value) -> Option<(&str, &str)> {
    match merge {
        Value::String(text) => text.split_once(' '),
        Value::Array(pair) => Some((pair.first()?.as_str()?, pair.get(1)?.as_str()?)),
        _ => None,
    }
}

/// SentencePiece merges the pair whose whole has the best score; the place of a token's first merge says as much. What is no
/// merge of others comes last of all.
fn scores(tokens: &[Option<String>], merges: &[(&str, &str)]) -> Vec<f32> {
    let mut ranks: HashMap<String, usize> = HashMap::new();
    for (left, right) in merges {
        let next = ranks.len();
        ranks.entry(format!("{left}{right}")).or_insert(next);
    }
    let last = ranks.len();
    let rank = |token: &Option<String>| token.as_ref().and_then(|token| ranks.get(token)).copied().unwrap_or(last);
    tokens.iter().map(|token| -(rank(token) as f32)).collect()
}

fn types(json: &Value, tokens: &[Option<String>], kind: Kind) -> Vec<i32> {
    let unknown = json["model"]["unk_token"].as_str();
    let special: HashMap<usize, bool> = added(json).map(|(id, _, special)| (id, special)).collect();
    let of = |id: usize, token: &str| match special.get(&id) {
        _ if Some(token) == unknown => UNKNOWN,
        Some(true) => CONTROL,
        Some(false) => USER_DEFINED,
        None if kind == Kind::Pieces && is_byte(token) => BYTE,
        None => NORMAL,
    };
    tokens.iter().enumerate().map(|(id, token)| token.as_ref().map_or(UNUSED, |token| of(id, token))).collect()
}

/// `<0x0A>`.
fn is_byte(token: &str) -> bool {
    let digits = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    digits.is_some_and(|digits| digits.len() == 2 && u8::from_str_radix(digits, 16).is_ok())
}

/// Whether a text is read as if a space stood before it: a normalizer that prepends, or a `Metaspace`.
fn leading_space(json: &Value) -> bool {
    let normalizer = &json["normalizer"];
    let steps = match normalizer["normalizers"].as_array() {
        Some(steps) => steps.iter().collect(),
        None => vec![normalizer],
    };
    let meta = &json["pre_tokenizer"];
    steps.iter().any(|step| step["type"] == "Prepend")
        || (meta["type"] == "Metaspace" && meta["prepend_scheme"] != "never" && meta["add_prefix_space"] != false)
}

/// Which tokens begin, end, pad, and stand for the unknown; what is put around a text; the template of conversations.
fn set_ids(draft: &mut Draft<'_>, tokenizer: &Tokenizer, json: &Value) -> Result<(), Error> {
    let around = |text: &str, special| tokenizer.encode(text, special);
    let (bare, whole) = (around("a", Special::Omit)?, around("a", Special::Add)?);
    let first = whole.first().copied().filter(|_| whole.len() > bare.len() && !whole.starts_with(&bare));
    let last = whole.last().copied().filter(|_| whole.len() > bare.len() && !whole.ends_with(&bare));
    let unknown = json["model"]["unk_token"].as_str().and_then(|token| tokenizer.id(token));
    let named = [
        ("bos", first.or(tokenizer.bos())),
        ("eos", last.or(tokenizer.eos())),
        ("eot", tokenizer.stops().get(1).copied()),
        ("unknown", unknown),
        ("padding", tokenizer.padding()?),
    ];
    for (name, id) in named {
        if let Some(id) = id {
            draft.set(format!("tokenizer.ggml.{name}_token_id"), Meta::Count(id as usize));
        }
    }
    draft.set("tokenizer.ggml.add_bos_token", Meta::Flag(first.is_some()));
    draft.set("tokenizer.ggml.add_eos_token", Meta::Flag(last.is_some()));
    if let Some(template) = tokenizer.chat_template()? {
        draft.set("tokenizer.chat_template", Meta::Text(template));
    }
    Ok(())
}
