//! A stage's data are a list.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        train: [replay(steps = 10, data = text("a/*.txt"))],
    }
}

fn main() {}
