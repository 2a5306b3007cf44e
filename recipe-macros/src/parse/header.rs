//! `/// docs  pub Name {`.

use proc_macro2::{Group, Span, TokenStream};
use syn::ext::IdentExt;
use syn::parse::ParseStream;
use syn::{Attribute, Ident, Token, Visibility, token};

use super::tokens::{at, next, skip_entry, skip_one};
use crate::ast::Header;
use crate::report::{Problem, Problems};

const SHAPE: &str = "write `pub Name { model: …, context: … }`, or the keys alone";

/// The header of a recipe that is called `Recipe` because it says nothing else.
pub(super) fn unnamed(docs: Vec<Attribute>) -> Header {
    Header { docs, visibility: Visibility::Inherited, name: Ident::new("Recipe", Span::call_site()) }
}

/// Whether a header begins here: `pub …` or `Name {`, but not `key:`.
pub(super) fn is_next(input: ParseStream) -> bool {
    let name = input.peek(Ident::peek_any) && !input.peek2(Token![:]) && !input.peek2(Token![=]);
    input.peek(Token![pub]) || name
}

/// Doc comments; any other attribute has nothing to stand on.
pub(super) fn docs(input: ParseStream, problems: &mut Problems) -> Vec<Attribute> {
    let attributes = Attribute::parse_outer(input).unwrap_or_else(|error| {
        problems.push(Problem::new(at(error.span()), error.to_string(), ""));
        skip_entry(input);
        Vec::new()
    });
    let (docs, others): (Vec<_>, Vec<_>) = attributes.into_iter().partition(|one| one.path().is_ident("doc"));
    for other in others {
        let (place, message) = (quote::quote!(#other), "a recipe takes doc comments and no other attribute");
        problems.push(Problem::new(place, message, "remove it, or put it on a module around `recipe!`"));
    }
    docs
}

/// The header and the tokens between its braces. Where something else stands before the braces, it is reported and read
/// over; where there are no braces, the rest is read as if it stood in them.
pub(super) fn header(input: ParseStream, docs: Vec<Attribute>, problems: &mut Problems) -> (Header, TokenStream) {
    let mut header = unnamed(docs);
    if let Err(problem) = name(input, &mut header) {
        problems.push(problem);
    }
    while !input.is_empty() && !input.peek(token::Brace) && !is_entry(input) {
        skip_one(input);
    }
    let body = if is_entry(input) { input.parse() } else { input.parse::<Group>().map(|body| body.stream()) };
    (header, body.unwrap_or_default())
}

fn is_entry(input: ParseStream) -> bool {
    input.peek(Ident::peek_any) && input.peek2(Token![:])
}

fn name(input: ParseStream, header: &mut Header) -> Result<(), Problem> {
    let unreadable = |error: syn::Error| Problem::new(at(error.span()), error.to_string(), SHAPE);
    header.visibility = input.parse().map_err(unreadable)?;
    if !input.peek(Ident) {
        return Err(Problem::new(next(input), "expected the recipe's name", SHAPE));
    }
    header.name = input.parse().map_err(unreadable)?;
    if input.peek(token::Brace) {
        return Ok(());
    }
    let place = if input.is_empty() { at(header.name.span()) } else { next(input) };
    Err(Problem::new(place, format!("expected `{{` after the recipe's name `{}`", header.name), SHAPE))
}
