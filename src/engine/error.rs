//! What can go wrong while a model runs.

use recipe_core::{Plan, readable_bytes};
use thiserror::Error as ThisError;

/// A failure of the engine.
#[derive(Debug, ThisError)]
pub enum Error {
    /// The device refused.
    #[error("{0}{advice}", advice = advice(.0))]
    Device(#[from] kernels::device::Error),
    /// The device has too little memory for a step of the plan.
    #[error("{error}; {remedies}")]
    Memory {
        /// What the device said.
        error: kernels::device::Error,
        /// By how much it is short, and what to write.
        remedies: String,
    },
    /// A weight cannot be read.
    #[error(transparent)]
    Hub(#[from] crate::hub::Error),
    /// A weight that the plan asks for is not there.
    #[error("the weights have no tensor `{name}`, which the plan needs with shape {expected:?}")]
    MissingTensor {
        /// Hugging Face name.
        name: String,
        /// Shape by the plan.
        expected: Vec<usize>,
    },
    /// A weight has another shape than the plan says.
    #[error("tensor `{name}` has shape {got:?}, and the plan needs {expected:?}")]
    Shape {
        /// Hugging Face name.
        name: String,
        /// Shape by the plan.
        expected: Vec<usize>,
        /// Shape found.
        got: Vec<usize>,
    },
    /// A checkpoint of another optimiser.
    #[error(
        "the moments of tensor `{name}` are in {got}, and the plan keeps them in {expected}; write `optimizer: {word}`, or begin a new run",
        word = if *got == "f32" { "adamw" } else { "adamw_8bit" }
    )]
    OtherMoments {
        /// Hugging Face name.
        name: String,
        /// "f32" or "8 bits", by the plan.
        expected: &'static str,
        /// What was found.
        got: &'static str,
    },
    /// A batch that breaks its own rules, or does not fit the vocabulary.
    #[error("{0}; is this the model's own tokenizer?")]
    Batch(#[from] crate::data::Error),
    /// Weights that overflow, or are not the model's.
    #[error("the logits behind token {after} are not numbers; check the weights, or train with a lower lr")]
    NotNumbers {
        /// Tokens read so far.
        after: usize,
    },
    /// Gates are asked of an engine that has none.
    #[error("the plan learns no gates; write `attention: duo(gates = learned)` and a stage `gates(…)`")]
    NoGates,
    /// A batch without rows.
    #[error("the batch has no tokens; give at least one")]
    Empty,
}

impl Error {
    /// In training by `plan`: an error of memory says by how much it is short, and which changes of the recipe fit.
    pub(crate) fn in_training(self, plan: &Plan) -> Self {
        let Self::Device(error @ kernels::device::Error::OutOfMemory { requested, live, limit }) = self else {
            return self;
        };
        let missing = missing(requested, live, limit);
        let more = readable_bytes(missing);
        let remedies = match plan.remedies(missing, limit).join(", or ") {
            words if words.is_empty() => format!("{more} are missing, and no small change of the recipe saves them"),
            words => format!("{more} are missing: {words}"),
        };
        Self::Memory { error, remedies }
    }
}

/// Bytes that an allocation lacks: without a limit, or below it, the machine itself has no more than what is in use.
fn missing(requested: u64, live: u64, limit: u64) -> u64 {
    let over = live.saturating_add(requested).saturating_sub(limit);
    if over == 0 { requested } else { over }
}

/// What helps where memory is short and nothing is trained.
fn advice(error: &kernels::device::Error) -> String {
    let kernels::device::Error::OutOfMemory { requested, live, limit } = *error else { return String::new() };
    let more = readable_bytes(missing(requested, live, limit));
    format!("; {more} are missing: use a shorter text, or `--weights q8_0` where it is read on the CPU")
}
