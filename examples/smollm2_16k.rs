//! SmolLM2-135M from 8K to 16K on a laptop: YaRN (arXiv 2309.00071) and LoRA.
//!
//! `scripts/fetch_smollm2.sh` fetches the model.

use context_recipe::recipe;

recipe! {
    /// SmolLM2-135M, 8K to 16K, on a CPU with 16 GiB.
    pub Smollm2_16k {
        model: smollm2_135m,
        context: 8K -> 16K,
        rope: yarn(2),
        adapt: lora(rank = 16, alpha = 32),
        data: [text("text/*.txt") * 90%, passkey * 10%],
        train: [extend(steps = 100, length = 16K, lr = 1e-4, warmup = 10)],
        eval: [perplexity(8K, 16K), passkey(8K, 16K)],
        device: cpu(16GiB),
    }
}

fn main() -> context_recipe::Result<()> {
    context_recipe::main::<Smollm2_16k>()
}
