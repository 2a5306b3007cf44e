//! No sequence is longer than the target.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        attention: window(64K),
    }
}

fn main() {}
