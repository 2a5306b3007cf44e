//! A query sees its own block at least.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        attention: hybrid(full = 1/3, stride = 64, local = 0),
    }
}

fn main() {}
