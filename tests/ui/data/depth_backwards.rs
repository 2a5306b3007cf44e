//! A depth goes from shallow to deep.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        data: [text("a/*.txt"), qa(depth = (95%, 5%)) * 10%],
    }
}

fn main() {}
