//! Everything that can go wrong, as one type whose `Debug` is its readable report.

use std::error::Error as _;
use std::fmt;

use thiserror::Error as ThisError;

/// A failure of a recipe's program: what, where, and what to do.
#[derive(ThisError)]
pub enum Error {
    /// The command line asked for something that cannot be.
    #[error("{0}")]
    Usage(String),
    /// A model on disk.
    #[error(transparent)]
    Hub(#[from] crate::hub::Error),
    /// Text and tokens.
    #[error(transparent)]
    Data(#[from] crate::data::Error),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] crate::engine::Error),
    /// The typed model.
    #[error(transparent)]
    Model(#[from] crate::model::Error),
    /// Training.
    #[error(transparent)]
    Train(#[from] crate::train::Error),
    /// Evaluation.
    #[error(transparent)]
    Eval(#[from] crate::eval::Error),
    /// Rehearsal.
    #[error(transparent)]
    Rehearse(#[from] crate::rehearse::Error),
    /// Reports.
    #[error(transparent)]
    Report(#[from] crate::report::Error),
}

/// The result of a recipe's program.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn usage(report: String) -> Self {
        Self::Usage(report)
    }
}

/// `fn main() -> Result<()>` prints the `Debug` form: the message, then its causes.
impl fmt::Debug for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{self}")?;
        let mut said = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !said.contains(&text) {
                write!(out, "\n  because: {text}")?;
            }
            said = text;
            cause = error.source();
        }
        Ok(())
    }
}
