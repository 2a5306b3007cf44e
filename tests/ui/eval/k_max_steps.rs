//! Distances have room for a question between them.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        eval: [k_max(32K, 512)],
    }
}

fn main() {}
