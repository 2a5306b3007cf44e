//! YaRN (arXiv 2309.00071): Llama-2 7B from 4K to 128K; 400 steps at a scale of 16, 200 more at 32, both on 64K.
//!
//! The released program decays the rate linearly to zero. The law is the program's (and transformers'): its blend is linear in
//! the pair's index, the paper's in its rotations. Deviations: the text is yours, the paper's is PG19 in chunks of 64K.

use context_recipe::recipe;

recipe! {
    /// Llama-2 7B, 4K to 128K, trained on 64K.
    pub YarnLlama2_128k {
        model: llama2_7b,
        context: 4K -> 128K,
        rope: yarn(32),
        adapt: full,
        data: [text("books/*.txt")],
        train: [
            extend(steps = 400, length = 64K, batch = 64, scale = 16, lr = 2e-5, warmup = 20, schedule = linear, documents = joined),
            extend(steps = 200, length = 64K, batch = 64, lr = 2e-5, warmup = 20, schedule = linear, documents = joined),
        ],
        eval: [perplexity(4K, 64K, 128K), passkey(4K, 64K, 128K)],
    }
}

fn main() -> context_recipe::Result<()> {
    context_recipe::main::<YarnLlama2_128k>()
}
