//! `recipe! { … }`: a recipe's text becomes a checked plan and a typed model.
//!
//! The macro is a road in one direction, one file a stage: tokens → `ast` → `lower` → `check` → `emit`.
//! Everything after the shell below works on `proc_macro2`, so that tests and the fuzzer call the same function as rustc.

#![forbid(unsafe_code)]

mod ast;
mod bind;
mod check;
mod config;
mod constant;
mod emit;
mod expand;
mod kind;
mod lower;
mod number;
mod parse;
mod report;
mod spans;
#[cfg(test)]
mod tests;
mod words;

#[doc = include_str!("language.md")]
#[proc_macro]
pub fn recipe(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    expand::expand(input.into()).into()
}
