//! Arguments beyond the first few are named.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        train: [extend(1000)],
    }
}

fn main() {}
