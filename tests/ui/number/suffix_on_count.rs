//! K is for lengths.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        train: [extend(steps = 1K)],
    }
}

fn main() {}
