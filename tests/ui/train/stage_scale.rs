//! A scale stretches.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        train: [extend(steps = 1000, scale = 0.5), extend(steps = 10)],
    }
}

fn main() {}
