//! PoSE (arXiv 2309.10400): LLaMA 7B from 2K to 128K on sequences of 2K, two chunks with a random gap between them, YaRN on top.
//!
//! Published: 1000 steps of 64 sequences, 2e-5 with 10 steps of warm-up. The paper draws both chunk lengths freely; the released
//! program's first chunk is never longer than half: `form = code`.

use context_recipe::recipe;

recipe! {
    /// LLaMA 7B, 2K to 128K, trained on 2K.
    pub PoseLlama128k {
        model: llama_7b,
        context: 2K -> 128K,
        rope: yarn(64),
        positions: pose(chunks = 2),
        adapt: full,
        data: [jsonl("corpus/*.jsonl")],
        train: [extend(steps = 1000, length = 2K, batch = 64, lr = 2e-5, warmup = 10, schedule = linear)],
        eval: [perplexity(2K, 32K, 128K), passkey(2K, 32K, 128K)],
    }
}

fn main() -> context_recipe::Result<()> {
    context_recipe::main::<PoseLlama128k>()
}
