//! What can go wrong between text and token sequences.

use std::path::PathBuf;

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
    #[error("an exam with {keys} keys needs at least {needed} tokens, got a length of {length}; ask for fewer depths or a longer text")]
    ExamTooShort {
        /// Tokens asked for.
        length: usize,
        /// Tokens that the keys and their questions take.
        needed: usize,
        /// Keys to hide.
        keys: usize,
    },
    /// A depth outside the document, or more depths than names.
    #[error("{what}")]
    Depths {
        /// Which depth, and the legal range.
        what: String,
    },
    /// A file that could not be read or written.
    #[error("{path}: {reason}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What happened and what to do.
        reason: String,
    },
}
