//! An argument written twice is shown at both places.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        train: [extend(steps = 10, lr = 2e-5, lr = 1e-5)],
    }
}

fn main() {}
