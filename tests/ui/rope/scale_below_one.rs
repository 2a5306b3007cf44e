//! A scale stretches.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: ntk(0.5),
    }
}

fn main() {}
