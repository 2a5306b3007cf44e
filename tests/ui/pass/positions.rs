//! The released program's law in place of the paper's.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        positions: pose(form = code),
        train: [extend(steps = 100)],
    }
}

fn main() {}
