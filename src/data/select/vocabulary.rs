//! What every token of a vocabulary says about types and sentences, once; then sentences are judged by token ids.

use super::english::{Types, in_word, types_in};
use crate::data::Encoder;

/// By token.
pub(crate) struct Vocabulary {
    tokens: Vec<Token>,
}

/// A token's text in lower case, and what follows from it.
struct Token {
    text: Box<str>,
    /// Types of the words in it, where no neighbour goes on with one of them.
    types: Types,
    /// It goes on with a word that its left neighbour began, if that one is open to the right.
    left: bool,
    right: bool,
    /// Its first character is a letter or a digit: no sentence begins there without a space.
    tight: bool,
    /// It ends a sentence.
    ends: bool,
    /// It holds no word.
    bare: bool,
}

impl Vocabulary {
    pub(crate) fn new(encoder: &Encoder) -> Self {
        let count = encoder.tokenizer().get_vocab_size(true) as u32;
        // Some decoders take the space off a text's first token, so each token is read behind another one.
        let anchor = encoder.encode("a").ok().and_then(|tokens| tokens.last().copied());
        let before: Vec<u32> = anchor.into_iter().collect();
        let decode = |tokens: &[u32]| encoder.tokenizer().decode(tokens, false).unwrap_or_default();
        let prefix = decode(&before);
        let token = |id| {
            let both = decode(&[before.as_slice(), &[id]].concat());
            let text = both.strip_prefix(&prefix).map_or_else(|| decode(&[id]), str::to_owned);
            Token::new(&text, encoder.ends_sentence(id))
        };
        Self { tokens: (0..count).map(token).collect() }
    }

    fn token(&self, id: u32) -> Option<&Token> {
        self.tokens.get(id as usize)
    }

    /// How many of `tokens` the first sentence takes, and whether that is certain whatever follows them.
    ///
    /// A sentence ends behind its last token that ends one: `?!` and empty lines stay with what they follow, and a full stop
    /// inside `3.5` ends nothing.
    pub(super) fn sentence(&self, tokens: &[u32]) -> (usize, bool) {
        let ends = |row: usize| {
            let (token, next) = (self.token(tokens[row])?, self.token(tokens[row + 1])?);
            let goes_on = (next.ends && next.bare) || (next.tight && !token.text.ends_with('\n'));
            (token.ends && !goes_on).then_some(row + 1)
        };
        match (0..tokens.len().saturating_sub(1)).find_map(ends) {
            Some(end) => (end, true),
            None => (tokens.len(), false),
        }
    }

    /// Types of all words of a text.
    pub(super) fn types(&self, tokens: &[u32]) -> Types {
        self.words(tokens).fold(0, |all, (_, types)| all | types)
    }

    /// For each token, the types of the word that it is part of.
    pub(crate) fn tags(&self, tokens: &[u32]) -> Vec<Types> {
        self.words(tokens).flat_map(|(count, types)| std::iter::repeat_n(types, count)).collect()
    }

    /// Runs of tokens that share words: how many, and the types.
    fn words<'a>(&'a self, tokens: &'a [u32]) -> impl Iterator<Item = (usize, Types)> + 'a {
        let open = |id: &u32| self.token(*id).is_some_and(|token| token.right);
        let goes_on = |id: &u32| self.token(*id).is_some_and(|token| token.left);
        tokens.chunk_by(move |left, right| open(left) && goes_on(right)).map(|run| (run.len(), self.run(run)))
    }

    fn run(&self, run: &[u32]) -> Types {
        match run {
            [id] => self.token(*id).map_or(0, |token| token.types),
            _ => {
                let text: String = run.iter().filter_map(|id| self.token(*id)).map(|token| &*token.text).collect();
                types_in(&text)
            }
        }
    }
}

impl Token {
    fn new(text: &str, ends: bool) -> Self {
        let text = text.to_lowercase();
        Self {
            types: types_in(&text),
            left: text.starts_with(in_word),
            right: text.ends_with(in_word),
            tight: text.starts_with(char::is_alphanumeric),
            bare: !text.contains(char::is_alphanumeric),
            ends,
            text: text.into(),
        }
    }
}
