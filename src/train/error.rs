//! What can go wrong while training.

use std::path::PathBuf;

use thiserror::Error as ThisError;

/// A failure of a training run. Checkpoints written before it stay usable.
#[derive(Debug, ThisError)]
pub enum Error {
    /// The engine stopped.
    #[error(transparent)]
    Engine(#[from] crate::engine::Error),
    /// The text could not be read.
    #[error(transparent)]
    Data(#[from] crate::data::Error),
    /// A checkpoint could not be read or written.
    #[error(transparent)]
    Hub(#[from] crate::hub::Error),
    /// The loss or its gradient is not a number any more.
    #[error(
        "step {step}: the {what} is {value} in the batch of sequences {first}..{end}; the last checkpoint is untouched. \
         Lower `lr` (it is {lr:e}), lengthen `warmup`, or look at that text"
    )]
    NotFinite {
        /// Optimiser step, counted from 1.
        step: usize,
        /// "loss" or "gradient norm".
        what: &'static str,
        /// What it came to.
        value: f64,
        /// First sequence of the batch.
        first: u64,
        /// One past the last.
        end: u64,
        /// The learning rate of the step.
        lr: f64,
    },
    /// It was asked to stop.
    #[error("stopped after step {step}, which is kept; the same command goes on from there")]
    Stopped {
        /// Optimiser step over all stages, counted from 1.
        step: usize,
    },
    /// The folder holds a run of something else.
    #[error("{path}: this run was made with {what} {got}, and now it is {expected}; give another --out, or go on as before", path = path.display())]
    OtherRun {
        /// The checkpoint.
        path: PathBuf,
        /// What differs.
        what: &'static str,
        /// Of the present run.
        expected: String,
        /// Of the checkpoint.
        got: String,
    },
    /// The command line says other things than before.
    #[error(
        "{path}: this run was started with these overrides: {got}; now: {expected}. Repeat them to go on, or give another --out",
        path = path.display()
    )]
    OtherOverrides {
        /// The checkpoint.
        path: PathBuf,
        /// Of the present run.
        expected: String,
        /// Of the checkpoint.
        got: String,
    },
    /// A checkpoint whose moments are kept otherwise.
    #[error(
        "{path}: this run was started with `optimizer: {got}`, and the recipe says `{expected}`; write `optimizer: {got}` to go on, or give another --out",
        path = path.display()
    )]
    OtherOptimizer {
        /// The checkpoint.
        path: PathBuf,
        /// Of the present run.
        expected: &'static str,
        /// Of the checkpoint.
        got: &'static str,
    },
    /// A checkpoint's record is damaged.
    #[error("{path}: {reason}; remove this file to go on from the checkpoint before it", path = path.display())]
    Damaged {
        /// The checkpoint.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file of the run could not be read or written.
    #[error("{path}: {reason}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's words.
        reason: std::io::Error,
    },
    /// A file of gates holds something else.
    #[error("{path}: this is not the model's file of gates: {reason}", path = path.display())]
    Gates {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A merge without the weights that the run started from.
    #[error(
        "the model that the run started from has no tensor `{name}` of the trained size, so nothing can be merged with it; give the same --model as before"
    )]
    NoOriginal {
        /// The tensor.
        name: String,
    },
    /// A recipe that does not train.
    #[error(
        "the recipe `{recipe}` has no `train: […]`; add a stage such as `extend(steps = 100, length = 8K, lr = 2e-5)`"
    )]
    NothingToTrain {
        /// Its name.
        recipe: String,
    },
    /// Two processes at once.
    #[error("{path}: another process trains here; wait for it or stop it", path = path.display())]
    Busy {
        /// The lock file.
        path: PathBuf,
    },
}

impl Error {
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |reason| Self::File { path, reason }
    }
}
