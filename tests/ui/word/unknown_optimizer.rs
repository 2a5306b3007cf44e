//! An optimiser that nobody knows.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        optimizer: adam_8bit,
        train: [extend(steps = 10)],
    }
}

fn main() {}
