//! Long documents come at least once.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        data: [text("a/*.txt", upsample = 32K, times = 0)],
    }
}

fn main() {}
