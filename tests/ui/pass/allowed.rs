//! A rule that is allowed becomes a note.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        attention: window(5000),
        allow: [window_not_in_blocks],
    }
}

fn main() {}
