//! Positions that skip under a base that follows the largest of them.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: dynamic_ntk(8),
        positions: random,
        train: [extend(steps = 100)],
    }
}

fn main() {}
