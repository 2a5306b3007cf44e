//! A needle is hidden in a document of some length.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        eval: [needle(multivalue)],
    }
}

fn main() {}
