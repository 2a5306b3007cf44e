//! Evaluations: loss by position, and recall of hidden keys. Everything is scored teacher-forced, in one pass per text.

mod error;
mod passkey;
mod perplexity;

use serde::Serialize;

pub use error::Error;
pub(crate) use passkey::tally;
pub use passkey::{DEPTHS, PasskeyScore, passkey};
pub use perplexity::{Perplexity, Protocol, by_position, sliding};

/// Everything that an evaluation found; what `eval --json` prints.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Evaluation {
    /// One entry per context length.
    pub perplexity: Vec<Perplexity>,
    /// One entry per context length and depth.
    pub passkey: Vec<PasskeyScore>,
}
