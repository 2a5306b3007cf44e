//! Groups are for training.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        attention: shifted_groups(group = 1/4),
    }
}

fn main() {}
