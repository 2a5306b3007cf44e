//! A base is above 1.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: theta(1e6),
        train: [extend(steps = 1000, theta = 0.5), extend(steps = 10)],
    }
}

fn main() {}
