//! [`ast`] → [`recipe_core::Recipe`], and which tokens stand for which [`Field`].
//!
//! Nothing is filled in here but what Hugging Face fills in (`llama { … }`, `field = "text"`): a word that was left out
//! stays `None`. What is wrong is reported, and a guess stands in for it, so that everything else can still be checked.

mod attention;
mod data;
mod keys;
mod model;
mod rope;
mod train;

use std::collections::BTreeMap;

use proc_macro2::{Ident, TokenStream};
use recipe_core::{Field, Recipe};

use crate::ast::{self, Node, Value};
use crate::bind::{Context, place};
use crate::kind::{World, meant, unknown};
use crate::report::Problems;
use crate::spans::Spans;
use crate::words::KEYS;

/// A recipe that the rules can read.
pub(crate) struct Lowered {
    pub(crate) recipe: Recipe,
    pub(crate) spans: Spans,
    pub(crate) problems: Problems,
    /// Files that were read; rustc must know them.
    pub(crate) files: Vec<String>,
}

/// Lowers every key; `world` says which guesses stand in for what is broken.
pub(crate) fn recipe(written: &ast::Recipe, world: World) -> Lowered {
    let name = &written.header.name;
    let spans = Spans::new(place(name));
    let mut context = Context { world, spans, problems: Problems::default(), files: Vec::new() };
    let values = keys(&mut context, &written.entries);
    let get = |key: &str| values.get(key).copied();
    let model = model::model(&mut context, get("model"), name);
    let recipe = Recipe {
        name: name.to_string(),
        context: keys::context(&mut context, get("context"), name),
        rope: get("rope").map(|value| rope::rope(&mut context, value)),
        attention: get("attention").map(|value| attention::attention(&mut context, value)),
        positions: get("positions").map(|value| keys::positions(&mut context, value)),
        select: get("select").map(|value| keys::select(&mut context, value)),
        adapt: get("adapt").map(|value| keys::adapt(&mut context, value)),
        optimizer: get("optimizer").map(|value| keys::optimizer(&mut context, value)),
        data: keys::list(&mut context, "data", get("data"), data::source),
        train: train::train(&mut context, get("train")),
        eval: keys::list(&mut context, "eval", get("eval"), keys::eval),
        allow: keys::list(&mut context, "allow", get("allow"), keys::rule),
        device: get("device").map(|value| keys::device(&mut context, value)),
        model,
    };
    Lowered { recipe, spans: context.spans, problems: context.problems, files: context.files }
}

/// Each key's first value. A slip counts as the key that was meant, unless that key is written too.
fn keys<'a>(context: &mut Context, entries: &'a [ast::Entry]) -> BTreeMap<&'static str, &'a Value> {
    let mut seen: BTreeMap<&'static str, (TokenStream, &'a Value)> = BTreeMap::new();
    for entry in entries {
        let Some(key) = key(context, entries, &entry.key) else {
            continue;
        };
        if let Some((first, _)) = seen.get(key) {
            context.twice("key", key, first.clone(), place(&entry.key));
            continue;
        }
        note(context, key, entry);
        seen.insert(key, (place(&entry.key), &entry.value));
    }
    seen.into_iter().map(|(key, (_, value))| (key, value)).collect()
}

fn key(context: &mut Context, entries: &[ast::Entry], written: &Ident) -> Option<&'static str> {
    let name = written.to_string();
    if let Some(key) = KEYS.iter().find(|key| **key == name) {
        return Some(key);
    }
    context.problems.push(unknown("key", &name, KEYS, place(written)));
    meant(&name, KEYS).filter(|meant| !entries.iter().any(|entry| entry.key == meant))
}

/// A list's own fault goes under its key, any other value's under the value.
fn note(context: &mut Context, key: &'static str, entry: &ast::Entry) {
    let tokens = if matches!(entry.value.node, Node::List(_)) { place(&entry.key) } else { entry.value.tokens.clone() };
    context.spans.note(&Field::new(key), &tokens);
}

/// A missing key that every recipe needs.
fn missing(context: &mut Context, key: &str, name: &Ident, help: String) {
    context.problem(&place(name), format!("the key `{key}` is missing"), help);
}
