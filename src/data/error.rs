//! What can go wrong between text and token sequences.

use std::path::{Path, PathBuf};

/// Failures of the data module. Each names the place and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A batch whose vectors do not fit together.
    #[error("a batch is inconsistent: {what}")]
    Batch {
        /// Which invariant is broken, with the values.
        what: String,
    },
    /// The tokenizer refused a text.
    #[error("the tokenizer could not encode {what}: {reason}")]
    Tokenizer {
        /// The text's origin.
        what: String,
        /// The tokenizer's own words.
        reason: String,
    },
    /// An exam that does not fit its length.
    #[error(
        "an exam with {facts} facts to hide needs at least {needed} tokens, got a length of {length}; ask for a longer one"
    )]
    ExamTooShort {
        /// Tokens asked for.
        length: usize,
        /// Tokens that the facts and their questions take.
        needed: usize,
        /// Facts to hide.
        facts: usize,
    },
    /// A depth outside the document, or more depths than names.
    #[error("{what}")]
    Depths {
        /// Which depth, and the legal range.
        what: String,
    },
    /// A glob that is malformed or matches nothing.
    #[error("data source \"{glob}\": {reason}")]
    Glob {
        /// The glob as written.
        glob: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file that is not UTF-8.
    #[error("{path}: not UTF-8 at byte {offset}; convert the file (for instance with iconv) or leave it out", path = path.display())]
    Utf8 {
        /// The file.
        path: PathBuf,
        /// The first byte that is no UTF-8, counted from 0.
        offset: u64,
    },
    /// A line of a JSONL file that does not hold a text.
    #[error("{path}:{line}: {reason}", path = path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// Conversations and a tokenizer that cannot write them.
    #[error("{path}: the model's tokenizer has no chat_template; use a chat model's files (tokenizer_config.json or chat_template.jinja), or write the conversations out as text and read them with `jsonl`", path = path.display())]
    NoTemplate {
        /// The file of conversations.
        path: PathBuf,
    },
    /// A chat template that is no Jinja.
    #[error("the tokenizer's chat_template cannot be read: {reason}")]
    Template {
        /// The template engine's words.
        reason: String,
    },
    /// A source without a single token.
    #[error("data source {origin}: its files hold no text; give it text or take it out")]
    Empty {
        /// The source as written.
        origin: String,
    },
    /// A selection that leaves no sentence of a source.
    #[error(
        "data source {origin}: `select` keeps none of its sentences; name other types, keep a share of the other sentences with `keep = 50%`, or write `select: all`"
    )]
    NothingSelected {
        /// The source as written.
        origin: String,
    },
    /// A corpus without a source.
    #[error("there is no data to train on; name some with `data: [text(\"corpus/*.txt\")]` or `--data`")]
    NoSource,
    /// A file that could not be read or written.
    #[error("{path}: {reason}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What happened and what to do.
        reason: String,
    },
}

impl Error {
    pub(super) fn file(path: &Path, what: &str, error: &std::io::Error) -> Self {
        Self::File { path: path.to_owned(), reason: format!("{what}: {error}") }
    }
}
