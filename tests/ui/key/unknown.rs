//! A key that is a slip of the keyboard.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        ropee: interpolate(8),
    }
}

fn main() {}
