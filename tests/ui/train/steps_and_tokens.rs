//! One of the two says how long a stage is.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        train: [extend(steps = 10, tokens = 2e8)],
    }
}

fn main() {}
