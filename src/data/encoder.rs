//! A tokenizer with its special tokens, and its tokens for the words of the chronicles.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use serde_json::Value;
use tokenizers::Tokenizer;

use super::chat::{ChatTemplate, UNCOUNTED};
use super::chronicle::{self, Sentence};
use super::digest::Digest;
use super::error::Error;
use super::select::vocabulary::Vocabulary;

/// Text to tokens, shared by every source of text.
pub struct Encoder {
    tokenizer: Tokenizer,
    bos: Option<u32>,
    eos: Option<u32>,
    /// Token of each chronicle word with the space before it, if the tokenizer has one for all of them.
    words: Option<HashMap<&'static str, u32>>,
    /// Whether a text that goes on after another one is encoded with the space before it.
    spaced: bool,
    /// Whether a text may be cut behind a word and encoded in parts.
    cuts_behind_words: bool,
    /// By token, whether it ends a sentence; made when first asked for.
    ends: OnceLock<Vec<bool>>,
    /// Types and sentences by token; made when first asked for.
    vocabulary: OnceLock<Arc<Vocabulary>>,
    /// How conversations are written, if the tokenizer says.
    template: Option<ChatTemplate>,
}

impl Encoder {
    /// `bos` and `eos` are the ids that begin and end a document, where the model has them.
    ///
    /// # Errors
    /// When the tokenizer refuses plain English.
    pub fn new(mut tokenizer: Tokenizer, bos: Option<u32>, eos: Option<u32>) -> Result<Self, Error> {
        // A tokenizer file may ask for either; both would change documents silently.
        tokenizer.with_truncation(None).map_err(|error| refused("", &error))?.with_padding(None);
        let mut encoder = Self {
            tokenizer,
            bos,
            eos,
            words: None,
            spaced: true,
            cuts_behind_words: true,
            ends: OnceLock::new(),
            vocabulary: OnceLock::new(),
            template: None,
        };
        encoder.words = encoder.single_words()?;
        encoder.spaced = encoder.joins("the old mill", " and the river")?;
        for next in [" and the river", "\nand the river", "\r\n\r\n  and the river"] {
            encoder.cuts_behind_words &= encoder.joins("the old mill", next)?;
        }
        Ok(encoder)
    }

    /// The same with Hugging Face's `chat_template`, which `chat(…)` needs.
    ///
    /// # Errors
    /// A template that is no Jinja.
    pub fn with_template(mut self, source: &str) -> Result<Self, Error> {
        let text = |id: Option<u32>| id.and_then(|id| self.tokenizer.id_to_token(id)).unwrap_or_default();
        let template = ChatTemplate::new(source, [text(self.bos), text(self.eos)]);
        self.template = Some(template.map_err(|reason| Error::Template { reason })?);
        Ok(self)
    }

    pub(super) fn template(&self) -> Option<&ChatTemplate> {
        self.template.as_ref()
    }

    /// The tokens of a conversation; those that the assistant does not say carry [`UNCOUNTED`].
    pub(super) fn conversation(&self, template: &ChatTemplate, messages: &[Value]) -> Result<Vec<u32>, String> {
        let (text, spans) = template.render(messages)?;
        let encoding = self.tokenizer().encode(text.as_str(), false).map_err(|error| error.to_string())?;
        let said = |start: usize| spans.iter().any(|span| span.contains(&start));
        let ids = encoding.get_ids().iter().zip(encoding.get_offsets());
        Ok(ids.map(|(&id, &(start, _))| if said(start) { id } else { id | UNCOUNTED }).collect())
    }

    /// Whether two texts give the same tokens apart and together.
    fn joins(&self, first: &str, second: &str) -> Result<bool, Error> {
        let whole = self.encode(&[first, second].concat())?;
        Ok(whole == [self.encode(first)?, self.encode(second)?].concat())
    }

    /// The token that begins a document.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// The token that ends a document.
    pub fn eos(&self) -> Option<u32> {
        self.eos
    }

    /// Whether a token's text ends a sentence: with a full stop, a question or exclamation mark, or a new line.
    pub fn ends_sentence(&self, token: u32) -> bool {
        let ends = self.ends.get_or_init(|| {
            let count = self.tokenizer.get_vocab_size(true) as u32;
            let text = |token| self.tokenizer.decode(&[token], false).unwrap_or_default();
            let ends = |text: String| text.ends_with(['.', '!', '?', '\n', '。', '！', '？']);
            (0..count).map(|token| ends(text(token))).collect()
        });
        ends.get(token as usize).copied().unwrap_or(false)
    }

    /// Whether a token's text is nothing but white space.
    pub fn is_blank(&self, token: u32) -> bool {
        self.tokenizer.decode(&[token], false).is_ok_and(|text| text.trim().is_empty())
    }

    /// What each token says about types of words and sentences.
    pub(crate) fn vocabulary(&self) -> Arc<Vocabulary> {
        Arc::clone(self.vocabulary.get_or_init(|| Arc::new(Vocabulary::new(self))))
    }

    /// The tokenizer itself.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// A text without special tokens.
    ///
    /// # Errors
    /// The tokenizer's own, with the beginning of the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, Error> {
        let encoding = self.tokenizer.encode_fast(text, false).map_err(|error| refused(text, &error))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Several texts at once, on all cores; an error is in the tokenizer's words.
    pub(super) fn encode_all(&self, texts: Vec<String>) -> Result<Vec<Vec<u32>>, String> {
        let encoded = self.tokenizer.encode_batch_fast(texts, false).map_err(|error| error.to_string())?;
        Ok(encoded.iter().map(|encoding| encoding.get_ids().to_vec()).collect())
    }

    /// Whether a text may be cut between an ASCII letter and white space without changing its tokens. Byte-level
    /// tokenizers split there anyway; SentencePiece ones would take the second part for the beginning of a text.
    pub(super) fn cuts_behind_words(&self) -> bool {
        self.cuts_behind_words
    }

    /// Names the tokenizer's rules: equal digests give equal tokens.
    pub(super) fn digest(&self) -> Result<[u8; 16], Error> {
        let rules = self.tokenizer.to_string(false).map_err(|error| refused("", &error))?;
        Ok(Digest::of(&[rules.as_bytes()]))
    }

    /// Appends a sentence that follows another one, and tells at which token each of its words begins (one more entry
    /// for the end).
    pub(super) fn write(&self, sentence: &Sentence, tokens: &mut Vec<u32>) -> Result<Vec<usize>, Error> {
        let Some(ids) = &self.words else { return self.write_prose(sentence, tokens) };
        let mut starts = vec![];
        for word in sentence.words() {
            starts.push(tokens.len());
            tokens.extend(word.map(|word| ids[word]));
        }
        starts.push(tokens.len());
        Ok(starts)
    }

    fn write_prose(&self, sentence: &Sentence, tokens: &mut Vec<u32>) -> Result<Vec<usize>, Error> {
        let (mut text, mut ends) = sentence.prose();
        if !self.spaced {
            text.remove(0);
            ends.iter_mut().for_each(|end| *end -= 1);
        }
        let encoding = self.tokenizer.encode(text.as_str(), false).map_err(|error| refused(&text, &error))?;
        let first = tokens.len();
        tokens.extend_from_slice(encoding.get_ids());
        let offsets = encoding.get_offsets();
        let begins = |end: usize| first + offsets.partition_point(|&(_, last)| last <= end);
        Ok([first].into_iter().chain(ends.into_iter().map(begins)).collect())
    }

    fn single_words(&self) -> Result<Option<HashMap<&'static str, u32>>, Error> {
        let mut words = HashMap::new();
        for word in chronicle::words() {
            let ids = self.encode(&format!(" {word}"))?;
            let [id] = ids[..] else { return Ok(None) };
            words.insert(word, id);
        }
        Ok(Some(words))
    }
}

fn refused(text: &str, error: &tokenizers::Error) -> Error {
    let beginning: String = text.chars().take(40).collect();
    Error::Tokenizer { what: format!("a text that begins with {beginning:?}"), reason: error.to_string() }
}
