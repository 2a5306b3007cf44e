//! Scales that do not reach the target.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        positions: e2(scale_max = 4),
        train: [extend(steps = 100)],
    }
}

fn main() {}
