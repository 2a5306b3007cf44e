//! A key written twice is shown at both places.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        rope: yarn(8),
    }
}

fn main() {}
