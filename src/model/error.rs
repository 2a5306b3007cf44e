//! What can go wrong around the typed model.

use dfdx::tensor::CpuError;

/// Why the typed model could not be made or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The type was written for another plan.
    #[error(
        "the model type does not fit the plan: `{what}` is {typed} in the type, {planned} in the plan; write the type with the plan's numbers"
    )]
    Mismatch {
        /// The first tensor that differs, by Hugging Face's name.
        what: String,
        /// What the type says.
        typed: String,
        /// What the plan says.
        planned: String,
    },
    /// A tensor that the model needs is not among the weights.
    #[error("the weights hold no `{name}`; the model needs it with shape {expected:?}")]
    MissingWeight {
        /// Hugging Face's name.
        name: String,
        /// The shape that the type asks for.
        expected: Vec<usize>,
    },
    /// A tensor has another shape than the type asks for.
    #[error("`{name}` has shape {got:?} and {values} values; the model needs shape {expected:?}")]
    WrongShape {
        /// Hugging Face's name.
        name: String,
        /// The shape that the type asks for.
        expected: Vec<usize>,
        /// The shape that was given.
        got: Vec<usize>,
        /// The number of values that was given.
        values: usize,
    },
    /// The slices of an input differ in length, or there is nothing in them.
    #[error("an input needs one or more tokens and as many {what}; got {tokens} tokens and {got} {what}")]
    Length {
        /// Which slice differs.
        what: &'static str,
        /// Tokens given.
        tokens: usize,
        /// Length of the other slice.
        got: usize,
    },
    /// A token or target id that the vocabulary does not have.
    #[error("{what} {id} at row {row} is outside the vocabulary of {vocab} tokens")]
    Vocabulary {
        /// `token` or `target`.
        what: &'static str,
        /// The row.
        row: usize,
        /// The id.
        id: i64,
        /// `vocab_size`.
        vocab: usize,
    },
    /// A document that starts after one of its own rows, or inside another document.
    #[error(
        "row {row} says that its document starts at row {start}; a start is the first row of a contiguous run that holds the row"
    )]
    Start {
        /// The row.
        row: usize,
        /// What `starts` holds there.
        start: usize,
    },
    /// Activations of one batch under the view of another.
    #[error("the activations have {got} rows and the view has {expected}; make the view from the same input")]
    Rows {
        /// Rows of the view.
        expected: usize,
        /// Rows of the activations.
        got: usize,
    },
    /// Every target is ignored, so there is no loss.
    #[error("all {rows} targets are -100 (ignored), so there is no loss; give at least one token to predict")]
    NoTargets {
        /// Rows given.
        rows: usize,
    },
    /// dfdx could not allocate, or was handed a buffer of the wrong size.
    #[error("dfdx failed: {0}")]
    Device(#[from] CpuError),
}
