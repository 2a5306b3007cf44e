//! A block holds tokens.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        attention: window(window = 1K, block = 0),
    }
}

fn main() {}
