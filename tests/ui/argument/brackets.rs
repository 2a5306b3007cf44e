//! A model is written in braces.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama(layers = 32, hidden = 4096, heads = 32, kv_heads = 32, head_dim = 128, ffn = 11008, vocab = 32000, context = 4K),
        context: 4K -> 32K,
        rope: interpolate(8),
    }
}

fn main() {}
