//! More than the whole target.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        positions: longrecipe(keep = 130%),
        train: [extend(steps = 100)],
    }
}

fn main() {}
