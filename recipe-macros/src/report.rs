//! Problems: what the user reads when a recipe is wrong. All of them at once, in the order of the text.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::quote_spanned;
use recipe_core::Fault;

use crate::spans::Spans;

/// One compile error.
pub(crate) struct Problem {
    /// The tokens under the caret.
    place: TokenStream,
    message: String,
    help: String,
}

impl Problem {
    /// `help` may be empty, where the message says it all.
    pub(crate) fn new(place: TokenStream, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { place, message: message.into(), help: help.into() }
    }

    /// A rule's verdict, put under the user's own tokens.
    pub(crate) fn from_fault(fault: Fault, spans: &Spans) -> Self {
        Self::new(spans.place(&fault.field), fault.message, fault.help)
    }

    /// From the first token to the last; a place of several lines is shortened to its first token, so that rustc draws
    /// one caret line and not a box around half the recipe.
    fn ends(&self) -> (Span, Span) {
        let first = self.place.clone().into_iter().next().map_or_else(Span::call_site, |token| opening(&token));
        let last = self.place.clone().into_iter().last().map_or(first, |token| closing(&token));
        if first.start().line == last.end().line { (first, last) } else { (first, first) }
    }

    /// `::core::compile_error! { "message\n  = help: …" }`, its first token carrying the start of the place and its last
    /// token the end, as rustc wants them.
    fn tokens(&self) -> TokenStream {
        let (first, last) = self.ends();
        let text = if self.help.is_empty() {
            self.message.clone()
        } else {
            format!("{}\n  = help: {}", self.message, self.help)
        };
        let path = quote_spanned!(first=> ::core::compile_error!);
        let body = quote_spanned!(last=> { #text });
        quote_spanned!(first=> #path #body)
    }
}

fn opening(token: &TokenTree) -> Span {
    match token {
        TokenTree::Group(group) if group.span().start().line != group.span().end().line => group.span_open(),
        _ => token.span(),
    }
}

fn closing(token: &TokenTree) -> Span {
    match token {
        TokenTree::Group(group) if group.span().start().line != group.span().end().line => group.span_close(),
        _ => token.span(),
    }
}

/// The basket that every stage puts its problems in.
#[derive(Default)]
pub(crate) struct Problems(Vec<Problem>);

impl Problems {
    pub(crate) fn push(&mut self, problem: Problem) {
        self.0.push(problem);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn append(&mut self, mut more: Problems) {
        self.0.append(&mut more.0);
    }

    /// Every problem as a `compile_error!`, in the order of the text.
    pub(crate) fn tokens(mut self) -> TokenStream {
        self.0.sort_by_key(|problem| {
            let start = problem.ends().0.start();
            (start.line, start.column)
        });
        self.0.iter().map(Problem::tokens).collect()
    }
}

impl FromIterator<Problem> for Problems {
    fn from_iter<I: IntoIterator<Item = Problem>>(problems: I) -> Self {
        Self(problems.into_iter().collect())
    }
}

/// What is left to say when the macro itself broke.
pub(crate) fn panicked() -> TokenStream {
    let message = concat!(
        "recipe! panicked; that is a mistake in context-recipe, not in your recipe\n  = help: please report it with the ",
        "recipe's text at ",
        env!("CARGO_PKG_REPOSITORY"),
        "/issues"
    );
    quote::quote!(::core::compile_error! { #message })
}
