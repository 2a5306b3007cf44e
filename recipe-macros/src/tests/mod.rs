//! The whole road, from tokens to tokens.

mod carets;
mod expansion;
mod fuzz;

use proc_macro2::TokenStream;

use crate::expand::expand;

/// Every message of an expansion, in order; none where the recipe is right.
fn messages(recipe: &str) -> Vec<String> {
    let file: syn::File = syn::parse2(expand(tokens(recipe))).expect("an expansion is Rust");
    let errors = file.items.into_iter().filter_map(|item| match item {
        syn::Item::Macro(item) => item.mac.parse_body::<syn::LitStr>().ok(),
        _ => None,
    });
    errors.map(|text| text.value()).collect()
}

fn tokens(recipe: &str) -> TokenStream {
    recipe.parse().expect("a test's recipe is made of Rust tokens")
}

/// A recipe with `entries` beside what every recipe needs.
fn with(entries: &str) -> String {
    format!("pub Case {{ model: llama2_7b, context: 4K -> 32K, {entries} }}")
}
