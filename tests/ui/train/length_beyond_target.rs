//! A stage is not longer than the target.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        train: [
            extend(
                steps = 1000,
                length = 64K,
            ),
        ],
    }
}

fn main() {}
