//! Evaluations: loss by position, exams on generated text, multiple choice, and types of tokens that a longer window helps.
//! Everything is scored teacher-forced, in one pass per text.
//!
//! ```
//! use context_recipe::data::Encoder;
//! use context_recipe::engine::{Engine, Mode};
//! use context_recipe::hub::Checkpoint;
//! use context_recipe::plan::{Recipe, presets};
//! use context_recipe::{Cpu, eval, report};
//!
//! # fn main() -> context_recipe::Result<()> {
//! let plan = Recipe::new(presets::tiny(), 256).plan().expect("nothing changes");
//! let model = Checkpoint::open("assets/tiny".as_ref())?;
//! let tokenizer = model.tokenizer()?;
//! let encoder = Encoder::new(tokenizer.inner().clone(), tokenizer.bos(), tokenizer.eos())?;
//! let mut engine = Engine::new(Cpu::new(), &plan, &model.weights, 0, Mode::Infer)?;
//! // Four documents of 256 tokens, a key at each of five depths, all asked for.
//! let keys = eval::passkey(&mut engine, &encoder, 256, 4, 0, &mut |_| ())?;
//! let (correct, asked) = keys.iter().fold((0, 0), |sum, row| (sum.0 + row.correct, sum.1 + row.trials));
//! assert!(asked == 20 && correct >= 16, "{correct} of {asked}");
//! println!("{}", report::passkey_table(&keys).to_text());
//! # Ok(())
//! # }
//! ```

mod choice;
mod error;
mod exam;
mod impact;
mod k_max;
mod needle;
mod passkey;
mod perplexity;
mod short;

use serde::{Deserialize, Serialize};

pub use choice::{Choice, ChoiceQuestion, choice, read_choices};
pub use error::Error;
pub use exam::{ExamProtocol, Marks};
pub use impact::{Impact, TypeImpact, impact, log_probabilities};
pub use k_max::{Distance, KMax, KMaxTest, k_max};
pub use needle::{NeedleScore, TopicsScore, needle, needle_documents, topic};
pub(crate) use passkey::tally;
pub use passkey::{DEPTHS, PasskeyScore, passkey};
pub use perplexity::{Perplexity, Protocol, by_position, of_chronicles, sliding};
pub use short::Short;

/// Everything that an evaluation found; what `eval --json` prints and a run keeps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
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
