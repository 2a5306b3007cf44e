//! A recipe as written. Every node keeps its tokens; nothing here judges meaning.

use proc_macro2::{Ident, TokenStream};
use syn::{Attribute, Visibility};

/// `/// docs  pub Name { key: value, … }`, or the entries alone.
pub(crate) struct Recipe {
    pub(crate) header: Header,
    pub(crate) entries: Vec<Entry>,
}

/// What stands before the braces.
pub(crate) struct Header {
    /// Doc comments only.
    pub(crate) docs: Vec<Attribute>,
    pub(crate) visibility: Visibility,
    /// `Recipe` where no name is written.
    pub(crate) name: Ident,
}

/// `key: value`.
pub(crate) struct Entry {
    pub(crate) key: Ident,
    pub(crate) value: Value,
}

/// A value and all of its tokens.
pub(crate) struct Value {
    pub(crate) tokens: TokenStream,
    pub(crate) node: Node,
}

/// What a value is made of.
pub(crate) enum Node {
    /// `4K`, `80GB`, `2e-5`, `-3`.
    Number(Number),
    /// `30%`.
    Percent(Number),
    /// `1/3`.
    Ratio(Number, Number),
    /// `"corpus/*.jsonl"`.
    Text(String),
    /// `true`.
    Flag(bool),
    /// `none`, `yarn(32)`, `llama { layers = 32 }`.
    Word(Word),
    /// `[1, 2]`, `(1, 2)`.
    List(Vec<Value>),
    /// `4K -> 128K`.
    Arrow(Box<Value>, Box<Value>),
    /// `passkey * 10%`.
    Share(Box<Value>, Box<Value>),
    /// `Self::WINDOW`: legal Rust that a recipe has no use for.
    Path,
    /// What could not be read; the problem is already reported.
    Broken,
}

/// A numeric literal, unjudged.
#[derive(Clone)]
pub(crate) struct Number {
    pub(crate) negative: bool,
    /// Without underscores and suffix; Rust's syntax, decimal.
    pub(crate) digits: String,
    /// `K`, `GiB`, or nothing.
    pub(crate) suffix: String,
}

/// A name, with its arguments if it has brackets.
pub(crate) struct Word {
    pub(crate) name: Ident,
    pub(crate) args: Vec<Arg>,
    /// `{ … }` rather than `( … )`.
    pub(crate) braces: bool,
}

/// `value` or `name = value`.
pub(crate) struct Arg {
    pub(crate) name: Option<Ident>,
    pub(crate) value: Value,
}
