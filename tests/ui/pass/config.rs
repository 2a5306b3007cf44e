//! A model from its config.json.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: hf("configs/good.json"),
        context: 4K -> 32K,
        rope: interpolate(8),
    }
}

fn main() {}
