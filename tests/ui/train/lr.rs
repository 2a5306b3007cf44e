//! A learning rate is in (0, 1].

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        train: [extend(steps = 1000, lr = 20)],
    }
}

fn main() {}
