//! A stage's scale covers its own length.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        train: [extend(steps = 1000, length = 16K, scale = 2), extend(steps = 10)],
    }
}

fn main() {}
