//! Verdicts: a [`Fault`] stops the build, a [`Note`] is kept in the plan and printed.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::list::Text;

/// The place in a recipe that a verdict is about, as a path of keys: `rope.scale`, `train[0].lr`, `data[1].share`.
///
/// A path may be longer than what the user wrote; whoever shows it falls back to the nearest parent.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Field(Cow<'static, str>);

impl Field {
    /// The field at `path`.
    pub fn new(path: impl Into<Cow<'static, str>>) -> Self {
        Self(path.into())
    }

    /// The key `name` inside this field.
    #[must_use]
    pub fn key(&self, name: &str) -> Self {
        Self(format!("{}.{name}", self.0).into())
    }

    /// The element `index` of this list.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0).into())
    }

    /// The enclosing field: `train[0].lr` → `train[0]` → `train` → nothing.
    pub fn parent(&self) -> Option<Self> {
        let cut = self.0.rfind(['.', '['])?;
        Some(Self(self.0[..cut].to_owned().into()))
    }

    /// The path as text.
    pub fn path(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Field {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Something that cannot work. `allow: [rule]` turns it into a [`Note`] where the rule permits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The rule's name, in snake case; what `allow: […]` takes.
    pub rule: &'static str,
    /// What the caret goes under.
    pub field: Field,
    /// What is wrong, with the values in it.
    pub message: String,
    /// What to write instead.
    pub help: String,
}

/// Legal, but the user should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The rule's name.
    pub rule: Text,
    /// What to know, with the values in it, and what to do about it.
    pub message: Text,
}
