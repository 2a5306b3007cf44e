//! An optimiser that has nothing to move.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        optimizer: adamw_8bit,
    }
}

fn main() {}
