//! A needle is of one of four kinds.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        eval: [needle(multikeys, 4K)],
    }
}

fn main() {}
