//! A share of nothing.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        attention: hybrid(full = 0%, window = 1K),
    }
}

fn main() {}
