//! A word where a truth value belongs.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: yarn(8, truncate = yes),
    }
}

fn main() {}
