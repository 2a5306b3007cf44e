//! What can go wrong with a model on disk. Every message says where, what was expected, what was found and what to do.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use recipe_core::ConfigError;

/// A model that cannot be read or written.
#[derive(thiserror::Error)]
pub enum Error {
    /// The operating system said no.
    #[error("cannot {action} {}: {source}. {}", path.display(), advice(source))]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The path holds no model that this program reads.
    #[error("no model at {}: {found}. {advice}", path.display())]
    NoModel {
        /// The path that was given.
        path: PathBuf,
        /// What is there instead.
        found: String,
        /// What to do.
        advice: &'static str,
    },
    /// A JSON file that is not JSON, or not of the form that its name promises.
    #[error("{} is malformed: {source}. Fetch the file again", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The parser's reason, with line and column.
        source: serde_json::Error,
    },
    /// A `config.json` (or GGUF metadata) that describes no Llama model.
    #[error("{}: {}", path.display(), reason(source))]
    Config {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: ConfigError,
    },
    /// A file whose parts contradict each other: cut short, overlapping, out of bounds.
    #[error("{} is damaged: {what}: expected {expected}, got {got}. {advice}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The part that is wrong.
        what: String,
        /// What the file itself promises.
        expected: String,
        /// What it holds.
        got: String,
        /// What to do.
        advice: Cow<'static, str>,
    },
    /// A tensor that is missing, superfluous, of another shape, or holds values that cannot be weights.
    #[error("{}: tensor {tensor}: expected {expected}, got {got}. {advice}", path.display())]
    Tensor {
        /// The file, or the directory when no file has the tensor.
        path: PathBuf,
        /// The tensor's name in that file.
        tensor: String,
        /// What the configuration asks for.
        expected: String,
        /// What is there.
        got: String,
        /// What to do.
        advice: Cow<'static, str>,
    },
    /// A tokenizer that does not belong to the model.
    #[error("{}: {what}: expected {expected}, got {got}. {advice}", path.display())]
    Vocabulary {
        /// The tokenizer's file.
        path: PathBuf,
        /// The part that is wrong.
        what: String,
        /// What the model has room for.
        expected: String,
        /// What the tokenizer says.
        got: String,
        /// What to do.
        advice: Cow<'static, str>,
    },
    /// A tokenizer that cannot be built or that cannot encode.
    #[error("{}: {reason}", path.display())]
    Tokenizer {
        /// The tokenizer's file.
        path: PathBuf,
        /// The reason and what to do.
        reason: String,
    },
    /// A sound file of a kind that this program does not read.
    #[error("{}: {what} is not supported. {advice}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The kind, by name.
        what: String,
        /// What to do.
        advice: Cow<'static, str>,
    },
    /// More than one thing is wrong.
    #[error("{} does not fit in {} places:{}", path.display(), errors.len(), listed(errors))]
    Several {
        /// The model.
        path: PathBuf,
        /// All of them.
        errors: Vec<Error>,
    },
}

/// Reads like [`Display`](fmt::Display), because `fn main() -> Result` prints this form.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error {
    /// Wraps an operating system error: `.map_err(Error::io("read", path))`.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Io { action, path: path.to_path_buf(), source }
    }

    /// Wraps a JSON error: `.map_err(Error::json(path))`.
    pub(super) fn json(path: &Path) -> impl FnOnce(serde_json::Error) -> Error {
        move |source| Error::Json { path: path.to_path_buf(), source }
    }

    /// None, the one, or all of them in one error.
    pub(super) fn all(path: &Path, mut errors: Vec<Error>) -> Result<(), Error> {
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => Err(Error::Several { path: path.to_path_buf(), errors }),
        }
    }
}

/// What to do about an operating system error.
fn advice(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::NotFound => "Check the path; a symbolic link may point to a file that is gone",
        io::ErrorKind::PermissionDenied => "Check the file's owner and permissions",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "The disk is full; what was there before is unchanged. Free some space or choose another directory"
        }
        io::ErrorKind::UnexpectedEof => "The file became shorter while it was read; fetch it again",
        io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory => "Check the path",
        io::ErrorKind::ReadOnlyFilesystem => "Choose a directory that can be written",
        _ => "Check the path and the disk",
    }
}

fn listed(errors: &[Error]) -> String {
    errors.iter().map(|error| format!("\n  {error}")).collect()
}

/// The reason without the file's name, which stands before it already.
fn reason(source: &ConfigError) -> String {
    let text = source.to_string();
    text.strip_prefix("config.json: ").unwrap_or(&text).to_string()
}
