//! Small steps over tokens.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use syn::Token;
use syn::ext::IdentExt;
use syn::parse::ParseStream;

use crate::report::Problem;

/// An identifier or a Rust keyword: a recipe's words are its own.
pub(super) fn any_ident(input: ParseStream) -> Result<Ident, Problem> {
    Ident::parse_any(input).map_err(|error| Problem::new(at(error.span()), error.to_string(), ""))
}

/// A token that carries `span`.
pub(super) fn at(span: Span) -> TokenStream {
    TokenTree::from(Ident::new("place", span)).into()
}

/// The next token, as a place.
pub(super) fn next(input: ParseStream) -> TokenStream {
    input.cursor().token_tree().map_or_else(|| at(input.span()), |(token, _)| token.into())
}

/// Everything from `begin` up to where `end` stands.
pub(super) fn between(begin: ParseStream, end: ParseStream) -> TokenStream {
    let mut cursor = begin.cursor();
    let mut tokens = TokenStream::new();
    while cursor != end.cursor() {
        let Some((token, rest)) = cursor.token_tree() else {
            break;
        };
        tokens.extend([token]);
        cursor = rest;
    }
    tokens
}

pub(super) fn skip_one(input: ParseStream) {
    // A step that cannot fail: at the end it stays where it is.
    let _ = input.step(|cursor| Ok(((), cursor.token_tree().map_or(*cursor, |(_, rest)| rest))));
}

pub(super) fn skip_to_comma(input: ParseStream) {
    while !input.is_empty() && !input.peek(Token![,]) {
        skip_one(input);
    }
}

/// Up to and over the next comma.
pub(super) fn skip_entry(input: ParseStream) {
    skip_to_comma(input);
    skip_one(input);
}

pub(super) fn skip_all(input: ParseStream) {
    while !input.is_empty() {
        skip_one(input);
    }
}
