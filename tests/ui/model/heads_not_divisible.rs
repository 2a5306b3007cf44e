//! Query heads share key heads evenly.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama { layers = 4, hidden = 256, heads = 6, kv_heads = 4, head_dim = 64, ffn = 512, vocab = 1000, context = 4K },
        context: 4K -> 32K,
        rope: interpolate(8),
    }
}

fn main() {}
