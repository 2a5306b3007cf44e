//! Units are written as they are.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4k -> 32K,
        rope: interpolate(8),
    }
}

fn main() {}
