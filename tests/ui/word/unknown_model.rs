//! A preset that is a slip.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7B_,
        context: 4K -> 32K,
        rope: interpolate(8),
    }
}

fn main() {}
