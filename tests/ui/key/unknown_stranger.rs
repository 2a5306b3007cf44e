//! A key that resembles none.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        momentum: 0.9,
    }
}

fn main() {}
