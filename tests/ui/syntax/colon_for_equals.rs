//! Arguments take an equals sign.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        attention: window(window: 4K),
    }
}

fn main() {}
