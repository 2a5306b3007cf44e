//! Rope turns pairs of dimensions.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama { layers = 4, hidden = 256, heads = 4, kv_heads = 4, head_dim = 63, ffn = 512, vocab = 1000, context = 4K },
        context: 4K -> 32K,
        rope: interpolate(8),
    }
}

fn main() {}
