//! A recipe says which context it reaches.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        rope: interpolate(8),
    }
}

fn main() {}
