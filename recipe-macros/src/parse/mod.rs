//! Tokens → [`ast`](crate::ast). Says only what cannot be read; whether it makes sense is asked later.
//!
//! A broken entry does not hide the ones after it: reading goes on behind the next comma, or at the next `key:`.

mod header;
mod tokens;
mod value;

use proc_macro2::{Ident, TokenStream};
use syn::Token;
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};

use crate::ast::{Entry, Node, Recipe, Value};
use crate::report::{Problem, Problems};
use tokens::{any_ident, at, next, skip_all, skip_entry};

type Read<T> = Result<T, Problem>;

/// Whatever can be read, and what could not.
pub(crate) fn recipe(tokens: TokenStream) -> (Recipe, Problems) {
    let mut problems = Problems::default();
    let parser = |input: ParseStream| Ok(whole(input, &mut problems));
    let recipe =
        parser.parse2(tokens).unwrap_or_else(|_| Recipe { header: header::unnamed(Vec::new()), entries: Vec::new() });
    (recipe, problems)
}

/// `/// docs  pub Name { … }` or the entries alone.
fn whole(input: ParseStream, problems: &mut Problems) -> Recipe {
    let docs = header::docs(input, problems);
    if !header::is_next(input) {
        return Recipe { header: header::unnamed(docs), entries: entries(input, problems) };
    }
    let (header, body) = header::header(input, docs, problems);
    if !input.is_empty() {
        problems.push(Problem::new(
            next(input),
            "nothing may follow a recipe's `}`",
            "give each recipe its own `recipe!`",
        ));
        skip_all(input);
    }
    let parser = |input: ParseStream| Ok(entries(input, problems));
    Recipe { header, entries: parser.parse2(body).unwrap_or_default() }
}

/// `key: value, key: value`.
fn entries(input: ParseStream, problems: &mut Problems) -> Vec<Entry> {
    let mut entries = Vec::new();
    while !input.is_empty() {
        match entry(input, problems) {
            Ok(entry) => {
                entries.push(entry);
                separator(input, "key", problems);
            }
            Err(problem) => {
                problems.push(problem);
                skip_entry(input);
            }
        }
    }
    entries
}

fn entry(input: ParseStream, problems: &mut Problems) -> Read<Entry> {
    if input.peek(Token![#]) {
        problems.push(Problem::new(
            next(input),
            "a doc comment belongs above the recipe's name",
            "begin this one with `//`",
        ));
        header::docs(input, problems);
    }
    let key = key(input)?;
    if input.is_empty() || input.peek(Token![,]) {
        problems.push(Problem::new(
            at(key.span()),
            format!("`{key}` has no value"),
            format!("write `{key}: …`, or leave it out"),
        ));
        let value = Value { tokens: at(key.span()), node: Node::Broken };
        return Ok(Entry { key, value });
    }
    let value = value::value(input, 0, problems);
    Ok(Entry { key, value })
}

/// `key:`.
fn key(input: ParseStream) -> Read<Ident> {
    if !input.peek(Ident::peek_any) {
        return Err(Problem::new(next(input), "expected a key", "an entry reads `rope: interpolate(32)`"));
    }
    let key = any_ident(input)?;
    if input.peek(Token![:]) && !input.peek(Token![::]) {
        tokens::skip_one(input);
        return Ok(key);
    }
    let place = if input.is_empty() { at(key.span()) } else { next(input) };
    Err(Problem::new(place, format!("expected `:` after the key `{key}`"), format!("an entry reads `{key}: value`")))
}

/// The comma behind an entry, an argument or an element; a forgotten one is reported and read over.
fn separator(input: ParseStream, what: &str, problems: &mut Problems) {
    if input.is_empty() {
        return;
    }
    if input.peek(Token![,]) {
        return tokens::skip_one(input);
    }
    if input.peek(Ident::peek_any) && (input.peek2(Token![:]) || input.peek2(Token![=])) {
        let (place, message) = (next(input), format!("expected `,` before this {what}"));
        return problems.push(Problem::new(place, message, ""));
    }
    let place = next(input);
    let arrow = input.peek(Token![->]);
    let token = if arrow { "->".to_owned() } else { place.to_string() };
    let help = match token.as_str() {
        "->" => "a context goes from one window to another: `4K -> 128K`",
        "+" | "-" | "*" | "/" => "a recipe does no arithmetic; write the result",
        _ => "values are separated by `,`",
    };
    problems.push(Problem::new(place, format!("expected `,`, found `{token}`"), help));
    skip_entry(input);
}
