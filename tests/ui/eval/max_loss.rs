//! A loss is not negative.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        eval: [short(max_loss = -0.02)],
    }
}

fn main() {}
