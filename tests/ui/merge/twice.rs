//! Two merges in a row are one.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        train: [extend(steps = 10), merge(base = 50%), merge(base = 50%)],
    }
}

fn main() {}
