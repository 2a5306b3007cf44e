//! A product is written out.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(2 * 4),
    }
}

fn main() {}
