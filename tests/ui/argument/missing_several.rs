//! Everything that is missing is named at once.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama { layers = 32, hidden = 4096, heads = 32, context = 4K },
        context: 4K -> 32K,
        rope: interpolate(8),
    }
}

fn main() {}
