//! A stage has an end.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        train: [extend(lr = 2e-5)],
    }
}

fn main() {}
