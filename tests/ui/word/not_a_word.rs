//! A number where a word belongs.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: 8,
    }
}

fn main() {}
