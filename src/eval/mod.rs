//! Evaluations: loss by position, exams on generated text, multiple choice, and types of tokens that a longer window helps.
//! Everything is scored teacher-forced, in one pass per text.

mod choice;
mod error;
mod exam;
mod impact;
mod k_max;
mod needle;
mod passkey;
mod perplexity;
mod short;

use serde::Serialize;

pub use choice::{Choice, ChoiceQuestion, choice, read_choices};
pub use error::Error;
pub use exam::{ExamProtocol, Marks};
pub use impact::{Impact, TypeImpact, impact, log_probabilities};
pub use k_max::{Distance, KMax, KMaxTest, k_max};
pub use needle::{NeedleScore, TopicsScore, needle, needle_documents, topic};
pub(crate) use passkey::tally;
pub use passkey::{DEPTHS, PasskeyScore, passkey};
pub use perplexity::{Perplexity, Protocol, by_position, sliding};
pub use short::Short;

/// Everything that an evaluation found; what `eval --json` prints.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Evaluation {
    /// One entry per context length.
    pub perplexity: Vec<Perplexity>,
    /// One entry per context length and depth.
    pub passkey: Vec<PasskeyScore>,
    /// One entry per context length.
    pub k_max: Vec<KMax>,
    /// One entry per kind, context length and depth.
    pub needle: Vec<NeedleScore>,
    /// One entry per context length.
    pub topics: Vec<TopicsScore>,
    /// One entry where it was asked for.
    pub short: Vec<Short>,
    /// One entry per file.
    pub choice: Vec<Choice>,
}
