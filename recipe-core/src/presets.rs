//! Released models by name: what `model: llama2_7b` stands for.

use crate::model::Llama;
use crate::scaling::Scaling;

/// Every name that [`named`] knows.
pub const NAMES: [&str; 14] = [
    "llama_7b",
    "llama2_7b",
    "llama2_13b",
    "llama2_70b",
    "llama3_8b",
    "llama3_70b",
    "llama31_8b",
    "mistral_7b",
    "qwen2_0_5b",
    "qwen2_7b",
    "qwen3_0_6b",
    "qwen3_8b",
    "smollm2_135m",
    "tiny",
];

/// The model called `name`, or nothing.
pub fn named(name: &str) -> Option<Llama> {
    let model = match name {
        "llama_7b" => llama_7b(),
        "llama2_7b" => llama2_7b(),
        "llama2_13b" => llama2_13b(),
        "llama2_70b" => llama2_70b(),
        "llama3_8b" => llama3_8b(),
        "llama3_70b" => llama3_70b(),
        "llama31_8b" => llama31_8b(),
        "mistral_7b" => mistral_7b(),
        "qwen2_0_5b" => qwen2_0_5b(),
        "qwen2_7b" => qwen2_7b(),
        "qwen3_0_6b" => qwen3_0_6b(),
        "qwen3_8b" => qwen3_8b(),
        "smollm2_135m" => smollm2_135m(),
        "tiny" => tiny(),
        _ => return None,
    };
    Some(model)
}

/// LLaMA 7B: 2K, RMSNorm epsilon 1e-6.
pub fn llama_7b() -> Llama {
    Llama { context: 2048, norm_eps: 1e-6, ..llama2_7b() }
}

/// Llama-2 7B: 4K.
pub fn llama2_7b() -> Llama {
    Llama {
        layers: 32,
        hidden: 4096,
        heads: 32,
        kv_heads: 32,
        head_dim: 128,
        ffn: 11_008,
        vocab: 32_000,
        context: 4096,
        rope_theta: 10_000.0,
        rope_scaling: Scaling::Default,
        norm_eps: 1e-5,
        tied: false,
        qkv_bias: false,
        qk_norm: false,
        window: 0,
    }
}

/// Llama-2 13B: 4K.
pub fn llama2_13b() -> Llama {
    Llama { layers: 40, hidden: 5120, heads: 40, kv_heads: 40, ffn: 13_824, ..llama2_7b() }
}

/// Llama-2 70B: 4K, eight key heads.
pub fn llama2_70b() -> Llama {
    Llama { layers: 80, hidden: 8192, heads: 64, kv_heads: 8, ffn: 28_672, ..llama2_7b() }
}

/// Llama-3 8B: 8K.
pub fn llama3_8b() -> Llama {
    Llama { kv_heads: 8, ffn: 14_336, vocab: 128_256, context: 8192, rope_theta: 500_000.0, ..llama2_7b() }
}

/// Llama-3 70B: 8K.
pub fn llama3_70b() -> Llama {
    Llama { layers: 80, hidden: 8192, heads: 64, ffn: 28_672, ..llama3_8b() }
}

/// Llama-3.1 8B: 128K, reached from 8K with the scaling named after it.
pub fn llama31_8b() -> Llama {
    let rope_scaling = Scaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original: 8192 };
    Llama { context: 131_072, rope_scaling, ..llama3_8b() }
}

/// SmolLM2 135M: 8K, tied embeddings.
pub fn smollm2_135m() -> Llama {
    Llama {
        layers: 30,
        hidden: 576,
        heads: 9,
        kv_heads: 3,
        head_dim: 64,
        ffn: 1536,
        vocab: 49_152,
        context: 8192,
        rope_theta: 100_000.0,
        rope_scaling: Scaling::Default,
        norm_eps: 1e-5,
        tied: true,
        qkv_bias: false,
        qk_norm: false,
        window: 0,
    }
}

/// Mistral 7B v0.2, which attends in full: 32K.
pub fn mistral_7b() -> Llama {
    Llama { kv_heads: 8, ffn: 14_336, context: 32_768, rope_theta: 1e6, ..llama2_7b() }
}

/// Qwen2 and Qwen2.5 0.5B: 32K, tied embeddings. The base models' files promise 131072 tokens; they were trained at 32K.
pub fn qwen2_0_5b() -> Llama {
    Llama {
        layers: 24,
        hidden: 896,
        heads: 14,
        kv_heads: 2,
        head_dim: 64,
        ffn: 4864,
        vocab: 151_936,
        tied: true,
        ..qwen2_7b()
    }
}

/// Qwen2 and Qwen2.5 7B: 32K, biases on q, k and v. The base models' files promise 131072 tokens; they were trained at 32K.
pub fn qwen2_7b() -> Llama {
    Llama {
        layers: 28,
        hidden: 3584,
        heads: 28,
        kv_heads: 4,
        ffn: 18_944,
        vocab: 152_064,
        context: 32_768,
        rope_theta: 1e6,
        norm_eps: 1e-6,
        qkv_bias: true,
        ..llama2_7b()
    }
}

/// Qwen3 0.6B: 32K, tied embeddings.
pub fn qwen3_0_6b() -> Llama {
    Llama { layers: 28, hidden: 1024, heads: 16, ffn: 3072, tied: true, ..qwen3_8b() }
}

/// Qwen3 8B: 32K, norms on q and k. Its file says 40960, which leaves room for an answer.
pub fn qwen3_8b() -> Llama {
    Llama {
        layers: 36,
        kv_heads: 8,
        ffn: 12_288,
        vocab: 151_936,
        context: 32_768,
        rope_theta: 1e6,
        norm_eps: 1e-6,
        qk_norm: true,
        ..llama2_7b()
    }
}

/// The embedded base that rehearsals run on: 1.3 M parameters, 256 tokens.
pub fn tiny() -> Llama {
    Llama {
        layers: 6,
        hidden: 128,
        heads: 4,
        kv_heads: 4,
        head_dim: 32,
        ffn: 352,
        vocab: 512,
        context: 256,
        rope_theta: 10_000.0,
        rope_scaling: Scaling::Default,
        norm_eps: 1e-5,
        tied: true,
        qkv_bias: false,
        qk_norm: false,
        window: 0,
    }
}
