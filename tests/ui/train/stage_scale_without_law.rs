//! A scale needs a law that has one.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: theta(1e6),
        train: [extend(steps = 1000, scale = 8), extend(steps = 10)],
    }
}

fn main() {}
