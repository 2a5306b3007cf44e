//! The other layers of a hybrid see something.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        attention: hybrid(full = 1/3, sink = 4),
    }
}

fn main() {}
