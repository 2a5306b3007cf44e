//! A plan that does not fit shows where the memory goes.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_70b,
        context: 4K -> 32K,
        rope: interpolate(8),
        train: [extend(steps = 10)],
        device: cuda(80GB),
    }
}

fn main() {}
