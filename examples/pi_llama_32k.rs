//! Position Interpolation (arXiv 2306.15595): LLaMA 7B from 2K to 32K, every weight trained for 1000 steps.
//!
//! The paper trains T = 32K with a batch of 128 on 128 GPUs and reports no schedule after the warm-up; here it is constant.
//! Deviations: the text is yours, the paper's is the Pile.

use context_recipe::recipe;

recipe! {
    /// LLaMA 7B, 2K to 32K.
    pub PiLlama32k {
        model: llama_7b,
        context: 2K -> 32K,
        rope: interpolate(16),
        adapt: full,
        data: [jsonl("corpus/*.jsonl")],
        train: [extend(steps = 1000, length = 32K, batch = 128, lr = 2e-5, warmup = 20, betas = (0.9, 0.95))],
        eval: [perplexity(2K, 8K, 32K), k_max(32K)],
    }
}

fn main() -> context_recipe::Result<()> {
    context_recipe::main::<PiLlama32k>()
}
