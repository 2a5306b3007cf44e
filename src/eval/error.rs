//! What can go wrong while evaluating.

use std::path::PathBuf;

use thiserror::Error as ThisError;

/// A failure of an evaluation.
#[derive(Debug, ThisError)]
pub enum Error {
    /// The engine stopped.
    #[error(transparent)]
    Engine(#[from] crate::engine::Error),
    /// The exam could not be written.
    #[error(transparent)]
    Data(#[from] crate::data::Error),
    /// Too little text for even one piece.
    #[error("the text has {tokens} tokens, and one piece needs {context}; give a longer --text or a shorter --context")]
    TooShort {
        /// Tokens of the text.
        tokens: usize,
        /// Tokens of a piece.
        context: usize,
    },
    /// A file of questions that cannot be used.
    #[error("{path}: {reason}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A line of it that cannot be used.
    #[error("{path}:{line}: {reason}", path = path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A sliding window that does not slide.
    #[error("a stride of {stride} does not fit a window of {context}; it is at least 1 and at most the window")]
    Stride {
        /// Tokens between windows.
        stride: usize,
        /// Tokens of a window.
        context: usize,
    },
}
