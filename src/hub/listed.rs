//! A tensor as a file lists it.

use std::path::PathBuf;

/// A tensor that a checkpoint holds, before its values are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its Hugging Face name.
    pub name: String,
    /// Outermost dimension first.
    pub shape: Vec<usize>,
    /// The number format's name in the file.
    pub dtype: String,
    /// The file that holds it.
    pub file: PathBuf,
}
