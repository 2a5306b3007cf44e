//! A tokenizer with its special tokens, and its tokens for the words of the chronicles.

use std::collections::HashMap;

use tokenizers::Tokenizer;

use super::chronicle::{self, Sentence};
use super::error::Error;

/// Text to tokens, shared by every source of text.
pub struct Encoder {
    tokenizer: Tokenizer,
    bos: Option<u32>,
    eos: Option<u32>,
    /// Token of each chronicle word with the space before it, if the tokenizer has one for all of them.
    words: Option<HashMap<&'static str, u32>>,
    /// Whether a text that goes on after another one is encoded with the space before it.
    spaced: bool,
}

impl Encoder {
    /// `bos` and `eos` are the ids that begin and end a document, where the model has them.
    ///
    /// # Errors
    /// When the tokenizer refuses plain English.
    pub fn new(tokenizer: Tokenizer, bos: Option<u32>, eos: Option<u32>) -> Result<Self, Error> {
        let mut encoder = Self { tokenizer, bos, eos, words: None, spaced: true };
        encoder.words = encoder.single_words()?;
        let whole = encoder.encode("the old mill and the river")?;
        let parts = [encoder.encode("the old mill")?, encoder.encode(" and the river")?].concat();
        encoder.spaced = whole == parts;
        Ok(encoder)
    }

    /// The token that begins a document.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// The token that ends a document.
    pub fn eos(&self) -> Option<u32> {
        self.eos
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

    /// Appends a sentence that follows another one, and tells at which token each of its words begins (one more entry
    /// for the end).
    pub(super) fn write(&self, sentence: &Sentence, tokens: &mut Vec<u32>) -> Result<Vec<usize>, Error> {
        let Some(ids) = &self.words else { return self.write_prose(sentence, tokens) };
        let first = tokens.len();
        tokens.extend(sentence.words().iter().map(|word| ids[word]));
        Ok((first..=tokens.len()).collect())
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
