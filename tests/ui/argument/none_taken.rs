//! A word without arguments.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K,
        rope: none(8),
    }
}

fn main() {}
