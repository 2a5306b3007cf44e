//! A merge needs something trained.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        train: [merge(base = 50%), extend(steps = 10)],
    }
}

fn main() {}
