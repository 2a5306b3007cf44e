//! The other layers of a hybrid are of one kind.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        attention: hybrid(full = 1/3, window = 4096, stride = 64),
    }
}

fn main() {}
