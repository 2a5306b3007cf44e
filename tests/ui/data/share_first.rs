//! The share stands behind the source.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        data: [90% * passkey, text("a/*.txt") * 10%],
    }
}

fn main() {}
