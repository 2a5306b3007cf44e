//! Typed look-ups in a GGUF file's metadata.

use std::path::Path;

use super::header::{Head, Value};
use crate::hub::error::Error;

/// Metadata with the file's path, for errors.
#[derive(Clone, Copy)]
pub(super) struct Keys<'a> {
    pub(super) path: &'a Path,
    pub(super) head: &'a Head,
}

impl<'a> Keys<'a> {
    /// The name of one of the architecture's own keys: `block_count` is `llama.block_count` in a Llama's file.
    pub(super) fn own(self, key: &str) -> String {
        match self.get("general.architecture") {
            Some(Value::Text(architecture)) => format!("{architecture}.{key}"),
            _ => format!("llama.{key}"),
        }
    }

    /// A count that must be there; a list counts when all of its values are the same.
    pub(super) fn count(self, key: &str) -> Result<usize, Error> {
        self.optional_count(key)?.ok_or_else(|| self.wrong(key, "a number", "nothing"))
    }

    pub(super) fn optional_count(self, key: &str) -> Result<Option<usize>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::List(values)) if values.len() > 1 && values.windows(2).any(|pair| pair[0] != pair[1]) => {
                Err(Error::Unsupported {
                    path: self.path.to_path_buf(),
                    what: format!("a different {key} per layer"),
                    advice: "Use a model whose layers are all alike".into(),
                })
            }
            Some(Value::List(values)) => values.first().map(|value| self.as_count(key, value)).transpose(),
            Some(value) => self.as_count(key, value).map(Some),
        }
    }

    pub(super) fn float(self, key: &str) -> Result<Option<f64>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Float(value)) => Ok(Some(*value)),
            Some(Value::Unsigned(value)) => Ok(Some(*value as f64)),
            Some(other) => Err(self.wrong(key, "a number", describe(other))),
        }
    }

    pub(super) fn text(self, key: &str) -> Result<Option<&'a str>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(key, "text", describe(other))),
        }
    }

    pub(super) fn flag(self, key: &str) -> Result<Option<bool>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(other) => Err(self.wrong(key, "true or false", describe(other))),
        }
    }

    pub(super) fn texts(self, key: &str) -> Result<Option<Vec<&'a str>>, Error> {
        self.list(key, "text", |value| match value {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }

    pub(super) fn floats(self, key: &str) -> Result<Option<Vec<f64>>, Error> {
        self.list(key, "numbers", |value| match value {
            Value::Float(number) => Some(*number),
            _ => None,
        })
    }

    pub(super) fn integers(self, key: &str) -> Result<Option<Vec<i64>>, Error> {
        self.list(key, "whole numbers", |value| match value {
            Value::Signed(number) => Some(*number),
            Value::Unsigned(number) => i64::try_from(*number).ok(),
            _ => None,
        })
    }

    /// The metadata contradict the rest of the file, or what Llama models are.
    pub(super) fn wrong(self, key: &str, expected: impl Into<String>, got: impl Into<String>) -> Error {
        Error::Damaged {
            path: self.path.to_path_buf(),
            what: key.to_string(),
            expected: expected.into(),
            got: got.into(),
            advice: "Convert the model again with a current llama.cpp".into(),
        }
    }

    pub(super) fn get(self, key: &str) -> Option<&'a Value> {
        self.head.metadata.get(key)
    }

    fn as_count(self, key: &str, value: &Value) -> Result<usize, Error> {
        let count = match value {
            Value::Unsigned(count) => usize::try_from(*count).ok(),
            Value::Signed(count) => usize::try_from(*count).ok(),
            _ => None,
        };
        count.ok_or_else(|| self.wrong(key, "a count", describe(value)))
    }

    fn list<T>(self, key: &str, kind: &str, pick: impl Fn(&'a Value) -> Option<T>) -> Result<Option<Vec<T>>, Error> {
        let wrong = |got: &Value| self.wrong(key, format!("a list of {kind}"), describe(got));
        match self.get(key) {
            None => Ok(None),
            Some(Value::List(values)) => {
                values.iter().map(|value| pick(value).ok_or_else(|| wrong(value))).collect::<Result<_, _>>().map(Some)
            }
            Some(other) => Err(wrong(other)),
        }
    }
}

fn describe(value: &Value) -> String {
    match value {
        Value::List(values) => format!("a list of {}", values.len()),
        Value::Unsigned(number) => number.to_string(),
        Value::Signed(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        Value::Text(text) => format!("{text:?}"),
    }
}
