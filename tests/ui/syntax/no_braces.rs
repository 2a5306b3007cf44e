//! A header is followed by braces.

use context_recipe::recipe;

recipe! {
    pub Case model: llama2_7b, context: 4K -> 32K
}

fn main() {}
