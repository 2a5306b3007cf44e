//! A stage's shares sum to all of its text.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        train: [extend(steps = 10, data = [text("a/*.txt") * 50%, passkey * 10%])],
    }
}

fn main() {}
