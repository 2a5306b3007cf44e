//! A config.json whose upper layers have a window.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: hf("configs/qwen2_sliding.json"),
        context: 4K -> 32K,
        rope: interpolate(8),
    }
}

fn main() {}
