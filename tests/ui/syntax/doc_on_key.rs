//! Doc comments belong above the name.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        /// Three stages.
        train: [extend(steps = 10)],
    }
}

fn main() {}
