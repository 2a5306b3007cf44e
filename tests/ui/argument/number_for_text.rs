//! A number where a text belongs.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        data: [text(8)],
    }
}

fn main() {}
