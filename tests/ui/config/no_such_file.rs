//! A config.json that is not there.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: hf("configs/absent.json"),
        context: 4K -> 32K,
        rope: interpolate(8),
    }
}

fn main() {}
