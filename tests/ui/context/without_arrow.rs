//! Growth is written with an arrow.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 32K,
        rope: interpolate(8),
    }
}

fn main() {}
