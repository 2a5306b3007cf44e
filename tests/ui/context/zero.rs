//! A window of nothing.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 0,
        rope: interpolate(8),
    }
}

fn main() {}
