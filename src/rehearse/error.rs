//! What can go wrong in a rehearsal.

use thiserror::Error as ThisError;

/// A failure of a rehearsal.
#[derive(Debug, ThisError)]
pub enum Error {
    /// The engine stopped.
    #[error(transparent)]
    Engine(#[from] crate::engine::Error),
    /// The text could not be read.
    #[error(transparent)]
    Data(#[from] crate::data::Error),
    /// Training stopped.
    #[error(transparent)]
    Train(#[from] crate::train::Error),
    /// An evaluation stopped.
    #[error(transparent)]
    Eval(#[from] crate::eval::Error),
    /// A file of the model could not be read or written.
    #[error(transparent)]
    Hub(#[from] crate::hub::Error),
    /// The typed model refused.
    #[error(transparent)]
    Model(#[from] crate::model::Error),
    /// The embedded model is unreadable.
    #[error("the embedded base model is damaged: {reason}; rebuild from a clean checkout")]
    Assets {
        /// What is wrong.
        reason: String,
    },
    /// The engine and the typed model disagree.
    #[error(
        "the engine and the typed model differ on one step: {what} by {difference:.1e} (relative), and {limit:.0e} is the \
         most that rounding explains; please report this"
    )]
    Disagreement {
        /// The loss, or a tensor's gradient.
        what: String,
        /// max |a − b| ÷ max |b|.
        difference: f64,
        /// What is tolerated.
        limit: f64,
    },
    /// A file of the report could not be written.
    #[error("{path}: {reason}", path = path.display())]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// The system's words.
        reason: std::io::Error,
    },
}
