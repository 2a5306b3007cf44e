//! LongGen (arXiv 2410.01485): Llama-2 7B from 4K to 128K with 12 full layers in the middle and 20 that see one block of
//! sinks and the 32 nearest blocks.
//!
//! Known from its review, not from its text: the layout, 5 B tokens, documents joined. Not published: learning rate, batch and
//! the base of the rotary law; here those of ABF runs with the same text (Fu et al., arXiv 2402.10171) and a base of 5 M.

use context_recipe::recipe;

recipe! {
    /// Llama-2 7B, 4K to 128K, a third of the layers full.
    pub LonggenLlama2_128k {
        model: llama2_7b,
        context: 4K -> 128K,
        rope: theta(5e6),
        attention: hybrid(full = 12, window = 2048, sink = 64),
        adapt: full,
        data: [jsonl("corpus/*.jsonl", upsample = 32K)],
        train: [extend(tokens = 5_000_000_000, length = 128K, batch = 32, lr = 2e-5, documents = joined)],
        eval: [perplexity(4K, 32K, 128K), passkey(4K, 32K, 128K)],
    }
}

fn main() -> context_recipe::Result<()> {
    context_recipe::main::<LonggenLlama2_128k>()
}
