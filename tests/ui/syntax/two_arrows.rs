//! A context goes from one window to another.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 8K -> 32K,
        rope: interpolate(8),
    }
}

fn main() {}
