//! E2-LLM (arXiv 2401.06951): Llama-2 7B trained once on 4K sequences under random scales up to 20 and random offsets; any
//! scale up to 20 can be served afterwards, here 8.
//!
//! Published: 30 000 steps of 16 sequences, 1e-5. The paper trains on 4K or 8K; there is no released program. Deviations: the
//! text is yours.

use context_recipe::recipe;

recipe! {
    /// Llama-2 7B, 4K to 32K, trained on 4K.
    pub E2LlmLlama2_32k {
        model: llama2_7b,
        context: 4K -> 32K,
        rope: interpolate(8),
        positions: e2(scale_max = 20),
        adapt: full,
        data: [jsonl("corpus/*.jsonl")],
        train: [extend(steps = 30_000, length = 4K, batch = 16, lr = 1e-5, betas = (0.9, 0.95))],
        eval: [perplexity(4K, 16K, 32K)],
    }
}

fn main() -> context_recipe::Result<()> {
    context_recipe::main::<E2LlmLlama2_32k>()
}
