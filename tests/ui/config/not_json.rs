//! A config.json that is not JSON.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: hf("configs/broken.json"),
        context: 4K -> 32K,
        rope: interpolate(8),
    }
}

fn main() {}
