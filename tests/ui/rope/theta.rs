//! A base is above 1.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: theta(0),
    }
}

fn main() {}
