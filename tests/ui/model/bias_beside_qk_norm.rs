//! Qwen2 has the one, Qwen3 the other.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama {
            layers = 4, hidden = 256, heads = 4, kv_heads = 4, head_dim = 64, ffn = 512, vocab = 1000, context = 4K,
            qkv_bias = true, qk_norm = true,
        },
        context: 4K -> 32K,
        rope: interpolate(8),
    }
}

fn main() {}
