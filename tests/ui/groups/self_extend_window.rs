//! The exact window is a part of the trained one.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        attention: self_extend(group = 16, window = 4096),
    }
}

fn main() {}
