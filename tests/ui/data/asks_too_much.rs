//! A document has people enough for its questions.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        data: [text("a/*.txt"), passkey(keys = 50) * 10%],
    }
}

fn main() {}
