//! Betas are below 1.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        train: [extend(steps = 10, betas = (0.9, 1.5))],
    }
}

fn main() {}
