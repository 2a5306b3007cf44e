//! More than a number holds.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(1e999),
    }
}

fn main() {}
