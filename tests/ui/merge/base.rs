//! A merge keeps some of both.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        train: [extend(steps = 10), merge(base = 100%)],
    }
}

fn main() {}
