//! A config.json without a number that is needed.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: hf("configs/no_hidden_size.json"),
        context: 4K -> 32K,
        rope: interpolate(8),
    }
}

fn main() {}
