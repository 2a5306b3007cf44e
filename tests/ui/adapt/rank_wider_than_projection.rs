//! A rank as wide as the projection is no low rank.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        adapt: lora(rank = 5000),
        train: [extend(steps = 10)],
    }
}

fn main() {}
