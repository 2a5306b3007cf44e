//! "Extending Llama-3's Context Ten-Fold Overnight" (arXiv 2404.19553): Llama-3 8B from 8K to 80K, NF4 base, adapters on q, k,
//! v, o and the embedding, about 20 000 long conversations once.
//!
//! The rate falls linearly from 5e-5; its warm-up is not published. alpha ÷ rank is 0.5, as in the released command, which
//! names no alpha. Deviations: 80K here is 81 920 tokens, as in the release.

use context_recipe::recipe;

recipe! {
    /// Llama-3 8B, 8K to 80K, overnight.
    pub QloraLlama3_80k {
        model: llama3_8b,
        context: 8K -> 80K,
        rope: theta(2e8),
        adapt: qlora(rank = 32, alpha = 16, targets = [q, k, v, o], train = [embed]),
        data: [chat("conversations/*.jsonl") * 75%, jsonl("corpus/*.jsonl") * 25%],
        train: [extend(steps = 2500, length = 80K, batch = 8, lr = 5e-5, schedule = linear)],
        eval: [perplexity(8K, 80K), topics(8K, 80K), passkey(8K, 80K)],
        device: cuda(80GB),
    }
}

fn main() -> context_recipe::Result<()> {
    context_recipe::main::<QloraLlama3_80k>()
}
