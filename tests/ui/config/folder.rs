//! A folder is not a config.json.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: hf("configs"),
        context: 4K -> 32K,
        rope: interpolate(8),
    }
}

fn main() {}
