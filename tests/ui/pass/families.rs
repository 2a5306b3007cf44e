//! Models that differ from a Llama in attention; a model's own window stands where the recipe says nothing.

use context_recipe::recipe;

recipe! {
    pub Qwen2 {
        model: llama {
            layers = 4, hidden = 256, heads = 4, kv_heads = 2, head_dim = 64, ffn = 512, vocab = 1000, context = 4K,
            qkv_bias = true,
        },
        context: 4K,
    }
}

recipe! {
    pub Qwen3 {
        model: qwen3_0_6b,
        context: 32K,
    }
}

recipe! {
    pub Mistral {
        model: hf("configs/mistral_window.json"),
        context: 4K,
    }
}

recipe! {
    pub Opened {
        model: hf("configs/mistral_window.json"),
        context: 4K -> 32K,
        rope: interpolate(8),
        attention: full,
    }
}

fn main() {}
