//! A window is longer than its sink.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        attention: window(window = 64, sink = 128),
    }
}

fn main() {}
