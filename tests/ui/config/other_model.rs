//! A config.json of another architecture.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: hf("configs/gpt2.json"),
        context: 4K -> 32K,
        rope: interpolate(8),
    }
}

fn main() {}
