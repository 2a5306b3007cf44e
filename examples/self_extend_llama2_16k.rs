//! SelfExtend (arXiv 2401.01325): Llama-2 7B reads 16K without training; far tokens share positions by groups of 8.
//!
//! The window of 1024 is the common choice for Llama-2; (4096 − 1024) · 8 + 1024 tokens are within reach.

use context_recipe::recipe;

recipe! {
    /// Llama-2 7B, 4K to 16K, untrained.
    pub SelfExtendLlama2_16k {
        model: llama2_7b,
        context: 4K -> 16K,
        attention: self_extend(group = 8, window = 1024),
        eval: [perplexity(4K, 8K, 16K), passkey(4K, 8K, 16K)],
        device: cuda(80GB),
    }
}

fn main() -> context_recipe::Result<()> {
    context_recipe::main::<SelfExtendLlama2_16k>()
}
