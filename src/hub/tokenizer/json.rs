//! `tokenizer.json` written from a vocabulary, as Hugging Face's converters write it.

use serde_json::{Map, Value, json};

/// What both kinds of vocabulary share.
pub(in crate::hub) struct Vocabulary<'a> {
    /// Spelling of each id.
    pub(in crate::hub) tokens: &'a [&'a str],
    /// Ids that stand outside the model: found in the text as they are, before anything else.
    pub(in crate::hub) added: Vec<Added>,
    /// The id put before a text.
    pub(in crate::hub) begin: Option<u32>,
    /// The id put after a text.
    pub(in crate::hub) end: Option<u32>,
}

/// A token that is found in the text as it is.
pub(in crate::hub) struct Added {
    pub(in crate::hub) id: u32,
    /// Left out when ids become text.
    pub(in crate::hub) special: bool,
}

/// How a text is cut before byte pairs are merged.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::hub) enum Splitter {
    /// Llama 3.
    Llama3,
    /// Qwen2 and its successors: Llama 3's rule with every digit alone, on composed characters.
    Qwen2,
    /// GPT-2.
    Gpt2,
    /// SmolLM: every digit alone, then GPT-2's rule.
    Digits,
}

/// A byte-level BPE vocabulary (GPT-2's kind).
pub(in crate::hub) struct BytePairs<'a> {
    pub(in crate::hub) vocabulary: Vocabulary<'a>,
    /// "left right", the first merged first.
    pub(in crate::hub) merges: &'a [&'a str],
    pub(in crate::hub) splitter: Splitter,
}

/// A SentencePiece BPE vocabulary (Llama 2's kind).
pub(in crate::hub) struct Pieces<'a> {
    pub(in crate::hub) vocabulary: Vocabulary<'a>,
    /// Pairs, the first merged first.
    pub(in crate::hub) merges: Vec<(&'a str, &'a str)>,
    pub(in crate::hub) unknown: Option<&'a str>,
    /// Whether a text is read as if a space stood before it.
    pub(in crate::hub) leading_space: bool,
}

/// `LLAMA_VOCAB_PRE_TYPE_LLAMA3` of llama.cpp, and the `Split` of Llama 3's own tokenizer.json.
pub(in crate::hub) const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// `LLAMA_VOCAB_PRE_TYPE_QWEN2`, and the `Split` of Qwen2's own tokenizer.json.
pub(in crate::hub) const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

impl BytePairs<'_> {
    pub(in crate::hub) fn to_json(&self) -> Value {
        let split = |regex: &str| json!({ "type": "Split", "pattern": { "Regex": regex }, "behavior": "Isolated", "invert": false });
        let (splits, whole_words) = match self.splitter {
            Splitter::Llama3 => (json!([split(LLAMA3), byte_level(false)]), true),
            Splitter::Qwen2 => (json!([split(QWEN2), byte_level(false)]), false),
            Splitter::Gpt2 => (json!([byte_level(true)]), false),
            Splitter::Digits => (json!([{ "type": "Digits", "individual_digits": true }, byte_level(true)]), false),
        };
        let merges: Vec<&str> = self.merges.to_vec();
        let normalizer = if self.splitter == Splitter::Qwen2 { json!({ "type": "NFC" }) } else { Value::Null };
        self.vocabulary.to_json(
            normalizer,
            json!({ "type": "Sequence", "pretokenizers": splits }),
            byte_level(true),
            json!({ "byte_fallback": false, "ignore_merges": whole_words, "merges": merges }),
        )
    }
}

impl Pieces<'_> {
    pub(in crate::hub) fn to_json(&self) -> Value {
        let spaces = json!({ "type": "Replace", "pattern": { "String": " " }, "content": "▁" });
        let mut normalizers = vec![spaces];
        let mut decoders = vec![
            json!({ "type": "Replace", "pattern": { "String": "▁" }, "content": " " }),
            json!({ "type": "ByteFallback" }),
            json!({ "type": "Fuse" }),
        ];
        if self.leading_space {
            normalizers.insert(0, json!({ "type": "Prepend", "prepend": "▁" }));
            decoders.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
        }
        self.vocabulary.to_json(
            json!({ "type": "Sequence", "normalizers": normalizers }),
            Value::Null,
            json!({ "type": "Sequence", "decoders": decoders }),
            json!({ "byte_fallback": true, "fuse_unk": true, "unk_token": self.unknown, "merges": self.merges }),
        )
    }
}

impl Vocabulary<'_> {
    /// `model` holds what the kinds of vocabulary do not share.
    fn to_json(&self, normalizer: Value, splitter: Value, decoder: Value, model: Value) -> Value {
        let mut bpe = json!({
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false,
        });
        if let (Value::Object(bpe), Value::Object(model)) = (&mut bpe, model) {
            let vocab = self.tokens.iter().zip(0_u32..).map(|(token, id)| (token.to_string(), id.into()));
            bpe.insert("vocab".into(), Value::Object(vocab.collect()));
            bpe.extend(model);
        }
        json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": self.added.iter().map(|added| self.added_json(added)).collect::<Vec<_>>(),
            "normalizer": normalizer,
            "pre_tokenizer": splitter,
            "post_processor": self.template(),
            "decoder": decoder,
            "model": bpe,
        })
    }

    fn added_json(&self, added: &Added) -> Value {
        json!({
            "id": added.id,
            "content": self.tokens[added.id as usize],
            "single_word": false,
            "lstrip": false,
            "rstrip": false,
            "normalized": false,
            "special": added.special,
        })
    }

    fn template(&self) -> Value {
        let named = |id: Option<u32>| id.map(|id| (self.tokens[id as usize], id));
        template(named(self.begin), named(self.end))
    }
}

/// A post-processor that puts tokens before and after a text.
fn template(begin: Option<(&str, u32)>, end: Option<(&str, u32)>) -> Value {
    let piece = |token: &str| json!({ "SpecialToken": { "id": token, "type_id": 0 } });
    let text = |name: &str| json!({ "Sequence": { "id": name, "type_id": 0 } });
    let around = |name: &str| {
        let mut pieces: Vec<Value> = begin.iter().map(|(token, _)| piece(token)).collect();
        pieces.push(text(name));
        pieces.extend(end.iter().map(|(token, _)| piece(token)));
        pieces
    };
    let special: Map<String, Value> = [begin, end]
        .into_iter()
        .flatten()
        .map(|(token, id)| (token.to_string(), json!({ "id": token, "ids": [id], "tokens": [token] })))
        .collect();
    let pair = [around("A"), around("B")].concat();
    json!({
        "type": "TemplateProcessing",
        "single": around("A"),
        "pair": pair,
        "special_tokens": special,
    })
}

fn byte_level(regex: bool) -> Value {
    json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": regex })
}

/// The post-processor of transformers' `LlamaTokenizerFast`, which obeys `add_bos_token` and `add_eos_token` of
/// `tokenizer_config.json` whatever `tokenizer.json` says; none for other classes, and where neither is written.
pub(super) fn begin_and_end(settings: &Map<String, Value>, tokenizer: &tokenizers::Tokenizer) -> Option<Value> {
    let class = settings.get("tokenizer_class")?.as_str()?;
    if !matches!(class, "LlamaTokenizer" | "LlamaTokenizerFast") {
        return None;
    }
    let flag = |key: &str| settings.get(key).and_then(Value::as_bool);
    let (begin, end) = (flag("add_bos_token"), flag("add_eos_token"));
    if begin.is_none() && end.is_none() {
        return None;
    }
    let token = |wanted: bool, key: &str| {
        let token = content(settings.get(key)?)?;
        Some((token, tokenizer.token_to_id(token)?)).filter(|_| wanted)
    };
    Some(template(token(begin.unwrap_or(true), "bos_token"), token(end.unwrap_or(false), "eos_token")))
}

/// The spelling of a token in `tokenizer_config.json`: text, or an object that holds it.
pub(super) fn content(token: &Value) -> Option<&str> {
    token.as_str().or_else(|| token.get("content")?.as_str())
}
