//! A split has a name.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        data: [dataset("wiki", split = "")],
    }
}

fn main() {}
