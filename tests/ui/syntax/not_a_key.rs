//! A list where keys belong.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        [1, 2],
    }
}

fn main() {}
