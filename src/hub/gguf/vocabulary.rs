//! The tokenizer in a GGUF file's metadata (`tokenizer.ggml.*`).

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::keys::Keys;
use crate::hub::error::Error;
use crate::hub::tokenizer::{Added, BytePairs, Files, Pieces, Splitter, Tokenizer, Vocabulary};

/// `llama_token_type` of llama.cpp.
const NORMAL: i64 = 1;
const UNKNOWN: i64 = 2;
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

/// The tokenizer; none when the file has no vocabulary.
pub(super) fn tokenizer(keys: Keys<'_>) -> Result<Option<Tokenizer>, Error> {
    let Some(tokens) = keys.texts("tokenizer.ggml.tokens")? else { return Ok(None) };
    refuse_twins(keys, &tokens)?;
    let json = match keys.text("tokenizer.ggml.model")? {
        Some("gpt2") => byte_pairs(keys, &tokens)?,
        Some("llama") => pieces(keys, &tokens)?,
        other => {
            let what = format!("tokenizer model {:?}", other.unwrap_or("none"));
            return Err(unsupported(keys, what, "Use a model with a \"gpt2\" or \"llama\" (SentencePiece) tokenizer"));
        }
    };
    let files = Files::of(json.to_string().into_bytes()).with_settings(&settings(keys, &tokens)?);
    Tokenizer::of(files, keys.path).map(Some)
}

fn byte_pairs(keys: Keys<'_>, tokens: &[&str]) -> Result<Value, Error> {
    let (splitter, begins) = match keys.text("tokenizer.ggml.pre")? {
        Some("llama-bpe" | "llama3" | "llama-v3") => (Splitter::Llama3, true),
        Some("smollm") => (Splitter::Digits, false),
        Some("qwen2") => (Splitter::Qwen2, false),
        Some("gpt-2" | "gpt2") => (Splitter::Gpt2, false),
        other => {
            let what = format!("pre-tokenizer {:?}", other.unwrap_or("none"));
            return Err(unsupported(
                keys,
                what,
                "Use a model with \"llama-bpe\", \"qwen2\", \"smollm\" or \"gpt-2\", or its Hugging Face files",
            ));
        }
    };
    let merges = keys.texts("tokenizer.ggml.merges")?;
    let merges = merges.ok_or_else(|| keys.wrong("tokenizer.ggml.merges", "a list of merges", "nothing"))?;
    let vocabulary = vocabulary(keys, tokens, begins)?;
    Ok(BytePairs { vocabulary, merges: &merges, splitter }.to_json())
}

fn pieces(keys: Keys<'_>, tokens: &[&str]) -> Result<Value, Error> {
    let scores = keys.floats("tokenizer.ggml.scores")?;
    let scores = scores.ok_or_else(|| keys.wrong("tokenizer.ggml.scores", "a score per token", "nothing"))?;
    same_length(keys, "tokenizer.ggml.scores", tokens, scores.len())?;
    let kinds = kinds(keys, tokens)?;
    let unknown = kinds.iter().position(|&kind| kind == UNKNOWN).map(|id| tokens[id]);
    let leading_space = keys.flag("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    let vocabulary = vocabulary(keys, tokens, true)?;
    Ok(Pieces { vocabulary, merges: merges(tokens, &scores, &kinds), unknown, leading_space }.to_json())
}

/// Every pair of tokens that makes a third, the best score of the third first, as transformers reconstructs the
/// merges of a SentencePiece model (`SentencePieceExtractor`); lower ids go first among equals. Control tokens and
/// bytes are made of no pieces.
fn merges<'a>(tokens: &[&'a str], scores: &[f64], kinds: &[i64]) -> Vec<(&'a str, &'a str)> {
    let ids: HashMap<&str, usize> = tokens.iter().copied().zip(0..).collect();
    let mut merges = Vec::new();
    let scored = tokens.iter().zip(scores).zip(kinds).filter(|(_, kind)| **kind == NORMAL);
    for ((&token, &score), _) in scored {
        let mut own: Vec<_> = token
            .char_indices()
            .skip(1)
            .map(|(at, _)| token.split_at(at))
            .filter_map(|(left, right)| Some((ids.get(left)?, ids.get(right)?, left, right)))
            .collect();
        own.sort_unstable();
        merges.extend(own.into_iter().map(|(_, _, left, right)| (score, left, right)));
    }
    merges.sort_by(|a, b| b.0.total_cmp(&a.0));
    merges.into_iter().map(|(_, left, right)| (left, right)).collect()
}

fn vocabulary<'a>(keys: Keys<'_>, tokens: &'a [&'a str], begins: bool) -> Result<Vocabulary<'a>, Error> {
    let kinds = kinds(keys, tokens)?;
    let added = kinds.iter().zip(0_u32..).filter_map(|(&kind, id)| {
        let special = matches!(kind, CONTROL | UNKNOWN);
        (special || kind == USER_DEFINED).then_some(Added { id, special })
    });
    let wanted = |key: &str, default: bool| keys.flag(key).map(|flag| flag.unwrap_or(default));
    let begin = if wanted("tokenizer.ggml.add_bos_token", begins)? { special_id(keys, "bos", tokens)? } else { None };
    let end = if wanted("tokenizer.ggml.add_eos_token", false)? { special_id(keys, "eos", tokens)? } else { None };
    Ok(Vocabulary { tokens, added: added.collect(), begin, end })
}

/// The kind of each token; all are plain when the file does not say.
fn kinds(keys: Keys<'_>, tokens: &[&str]) -> Result<Vec<i64>, Error> {
    let key = "tokenizer.ggml.token_type";
    match keys.integers(key)? {
        Some(kinds) => same_length(keys, key, tokens, kinds.len()).map(|()| kinds),
        None => Ok(vec![NORMAL; tokens.len()]),
    }
}

fn special_id(keys: Keys<'_>, name: &str, tokens: &[&str]) -> Result<Option<u32>, Error> {
    let key = format!("tokenizer.ggml.{name}_token_id");
    match keys.optional_count(&key)? {
        Some(id) if id >= tokens.len() => {
            Err(keys.wrong(&key, format!("an id below {}", tokens.len()), id.to_string()))
        }
        id => Ok(id.map(|id| id as u32)),
    }
}

/// `tokenizer_config.json` for the tokenizer: special tokens by name, and the chat template.
fn settings(keys: Keys<'_>, tokens: &[&str]) -> Result<Map<String, Value>, Error> {
    let mut settings = Map::new();
    for (name, key) in [("bos", "bos_token"), ("eos", "eos_token"), ("unknown", "unk_token"), ("padding", "pad_token")]
    {
        if let Some(id) = special_id(keys, name, tokens)? {
            settings.insert(key.into(), tokens[id as usize].into());
        }
    }
    if keys.text("tokenizer.ggml.pre")? == Some("qwen2") {
        // The file names an id for it all the same.
        settings.insert("bos_token".into(), Value::Null);
    }
    if let Some(template) = keys.text("tokenizer.chat_template")? {
        settings.insert("chat_template".into(), template.into());
    }
    settings.insert("clean_up_tokenization_spaces".into(), false.into());
    settings.insert("model_max_length".into(), keys.count(&keys.own("context_length"))?.into());
    settings.insert("tokenizer_class".into(), "PreTrainedTokenizerFast".into());
    Ok(settings)
}

/// Two ids with one spelling cannot both be in a `tokenizer.json`.
fn refuse_twins(keys: Keys<'_>, tokens: &[&str]) -> Result<(), Error> {
    let mut seen = HashMap::with_capacity(tokens.len());
    for (id, token) in tokens.iter().enumerate() {
        if let Some(first) = seen.insert(token, id) {
            let got = format!("{token:?} for {first} and {id}");
            return Err(keys.wrong("tokenizer.ggml.tokens", "a spelling of its own for each id", got));
        }
    }
    Ok(())
}

fn same_length(keys: Keys<'_>, key: &str, tokens: &[&str], got: usize) -> Result<(), Error> {
    match got == tokens.len() {
        true => Ok(()),
        false => Err(keys.wrong(key, format!("{} values, one per token", tokens.len()), got.to_string())),
    }
}

fn unsupported(keys: Keys<'_>, what: String, advice: &'static str) -> Error {
    Error::Unsupported { path: keys.path.to_path_buf(), what, advice: advice.into() }
}
