//! High is above low.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: llama3(8, low = 4, high = 1),
    }
}

fn main() {}
