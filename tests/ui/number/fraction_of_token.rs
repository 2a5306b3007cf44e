//! A length is whole.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 0.3K,
        rope: interpolate(8),
    }
}

fn main() {}
