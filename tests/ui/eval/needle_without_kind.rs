//! The kind stands before the lengths.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        eval: [needle(4K, 32K)],
    }
}

fn main() {}
