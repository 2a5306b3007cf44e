//! The last weights learn under the rope that they run under.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        train: [extend(steps = 10, scale = 16)],
    }
}

fn main() {}
