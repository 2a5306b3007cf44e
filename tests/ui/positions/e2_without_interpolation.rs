//! Scales under a law that has none.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: ntk(16),
        positions: e2(scale_max = 8),
        train: [extend(steps = 100)],
    }
}

fn main() {}
