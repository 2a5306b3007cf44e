//! The left side is what the model was trained at.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 8K -> 32K,
        rope: interpolate(8),
    }
}

fn main() {}
