//! One chunk has no gap.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        positions: pose(chunks = 1),
        train: [extend(steps = 100)],
    }
}

fn main() {}
