//! LongRecipe (arXiv 2409.00509) for Qwen2 7B: from 32K to 128K on sequences of 30 % of that, then short text again at a tenth
//! of the rate, and half of the original weights back.
//!
//! Published for this model (table 4): 384 M tokens in 104 steps of 96 sequences of 38,400 tokens, rate 5e-5, theta 13.5M, the
//! dynamic NTK base 1e6 · (4 · 4 − 3)^(128 ÷ 126). Replay of 68 M tokens at 5e-6 and the mean with the original weights are those
//! of all its models; the length of replayed sequences is not given, 8K is ours. Deviations: types of tokens are told apart by
//! lists of English words, not by a tagger.

use context_recipe::recipe;

recipe! {
    /// Qwen2 7B, 32K to 128K, on 30 % of the window.
    pub LongrecipeQwen2_128k {
        model: qwen2_7b,
        context: 32K -> 128000,
        rope: theta(13.54e6),
        select: impactful(types = [num, pron, aux]),
        positions: longrecipe(keep = 30%),
        adapt: full,
        data: [jsonl("corpus/*.jsonl", upsample = 32K)],
        train: [
            extend(steps = 104, batch = 96, lr = 5e-5, warmup = 0, betas = (0.9, 0.999), weight_decay = 0.1),
            replay(tokens = 68_000_000, length = 8K, batch = 96, lr = 5e-6, weight_decay = 0.1, data = [chat("instructions/*.jsonl")]),
            merge(base = 50%),
        ],
        eval: [perplexity(32K, 128000), needle(multikey, 32K, 128000), short(max_loss = 0.05)],
    }
}

fn main() -> context_recipe::Result<()> {
    context_recipe::main::<LongrecipeQwen2_128k>()
}
