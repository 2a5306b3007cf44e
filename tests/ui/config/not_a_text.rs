//! A path is a text.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: hf(config),
        context: 4K -> 32K,
        rope: interpolate(8),
    }
}

fn main() {}
