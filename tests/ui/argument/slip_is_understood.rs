//! A slip of a required argument is one error.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        attention: hybrid(full = 1/3, windw = 5000),
    }
}

fn main() {}
