//! LongLoRA (arXiv 2309.12307): Llama-2 7B from 4K to 32K with shifted groups of a quarter of the length, adapters of rank 8,
//! and the embedding and norms trained beside them. The trained model attends in full.
//!
//! Documents are joined without a mask, as in the release. Deviations: groups never wrap around the end of a text, which is
//! what the released flash-attention path does too.

use context_recipe::recipe;

recipe! {
    /// Llama-2 7B, 4K to 32K, shifted groups.
    pub LongloraLlama2_32k {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        attention: shifted_groups(group = 1/4),
        adapt: lora(rank = 8, alpha = 16, targets = [q, k, v, o], train = [embed, norm]),
        data: [jsonl("corpus/*.jsonl")],
        train: [extend(steps = 1000, length = 32K, batch = 64, lr = 2e-5, warmup = 20, documents = joined)],
        eval: [perplexity(4K, 8K, 32K), passkey(4K, 8K, 32K), topics(8K, 32K)],
        device: cuda(80GB),
    }
}

fn main() -> context_recipe::Result<()> {
    context_recipe::main::<LongloraLlama2_32k>()
}
