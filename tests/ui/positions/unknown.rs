//! A slip of the pen.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        positions: longrecip(keep = 30%),
        train: [extend(steps = 100)],
    }
}

fn main() {}
