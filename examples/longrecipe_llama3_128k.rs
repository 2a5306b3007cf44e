//! LongRecipe (arXiv 2409.00509): Llama-3 8B from 8K to 128K, trained on sequences of 30 % of that whose sentences skip
//! positions; then short text again at a tenth of the rate, and half of the original weights back.
//!
//! Published: 240 to 384 M tokens in 104 steps of 96 sequences, constant rate, weight decay 0.1; theta is the dynamic NTK base
//! at the target. Sentences without a number, a pronoun or an auxiliary are left out first; the released program asks for
//! digits alone: `select: impactful(form = code)`. Deviations: types are told apart by lists of English words, not by a tagger.

use context_recipe::recipe;

recipe! {
    /// Llama-3 8B, 8K to 128K, on 30 % of the window.
    pub LongrecipeLlama3_128k {
        model: llama3_8b,
        context: 8K -> 128000,
        rope: theta(131.5e6),
        select: impactful(types = [num, pron, aux]),
        positions: longrecipe(keep = 30%),
        adapt: full,
        data: [jsonl("corpus/*.jsonl", upsample = 32K)],
        train: [
            extend(steps = 104, batch = 96, lr = 5e-5, warmup = 0, betas = (0.9, 0.999), weight_decay = 0.1),
            replay(tokens = 68_000_000, batch = 96, lr = 5e-6, weight_decay = 0.1, data = [chat("instructions/*.jsonl")]),
            merge(base = 50%),
        ],
        eval: [perplexity(8K, 128000), needle(multikey, 8K, 128000), short(max_loss = 0.05)],
    }
}

fn main() -> context_recipe::Result<()> {
    context_recipe::main::<LongrecipeLlama3_128k>()
}
