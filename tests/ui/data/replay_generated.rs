//! Generated documents are never short.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        data: [text("a/*.txt"), replay(passkey) * 10%],
    }
}

fn main() {}
