//! Unnamed arguments are told once.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        attention: hybrid(1/3, 4096, 4),
    }
}

fn main() {}
