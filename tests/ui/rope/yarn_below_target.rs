//! A scale that does not reach the target.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: yarn(2),
    }
}

fn main() {}
