//! What can be wrong with a `config.json`.

use std::fmt;

use serde_json::Value;

/// A `config.json` that is malformed, or describes a model that this crate does not compute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// Not JSON.
    Json {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// The parser's words.
        message: String,
    },
    /// JSON, but not an object.
    NotAnObject {
        /// What it is.
        got: &'static str,
    },
    /// A key that must be there is not.
    Missing {
        /// The key.
        key: &'static str,
    },
    /// A key has another type or range.
    Wrong {
        /// The key, with the object that holds it: `rope_scaling.factor`.
        key: String,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        got: String,
    },
    /// A key describes something that Llama has not, or that this crate does not compute.
    Unsupported {
        /// The key.
        key: &'static str,
        /// What is computed.
        supported: String,
        /// What the file asks for.
        got: String,
    },
}

impl ConfigError {
    pub(super) fn wrong(key: impl Into<String>, expected: &'static str, got: &Value) -> Self {
        Self::Wrong { key: key.into(), expected, got: got.to_string() }
    }
}

/// The JSON type of `value`, in words.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // serde_json's words already end in the line and column.
            Self::Json { message, .. } => write!(out, "config.json is not JSON: {message}"),
            Self::NotAnObject { got } => write!(out, "config.json: expected an object, got {got}"),
            Self::Missing { key } => write!(out, "config.json: key `{key}` is missing"),
            Self::Wrong { key, expected, got } => {
                write!(out, "config.json: `{key}`: expected {expected}, got {got}")
            }
            Self::Unsupported { key, supported, got } => {
                write!(out, "config.json: `{key}`: only {supported} is supported, got {got}")
            }
        }
    }
}

impl std::error::Error for ConfigError {}
