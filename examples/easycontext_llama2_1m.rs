//! EasyContext's ladder (github jzhang38/EasyContext): Llama-2 7B to one million tokens in seven stages, each with its own base.
//!
//! Known: 1 M at 32K, 5 M at 64K, 10 M at 256K and 1 B at the end. Deviations: the bases between, the steps and the batch are
//! chosen here; the original shards a sequence over eight GPUs.

use context_recipe::recipe;

recipe! {
    /// Llama-2 7B, 4K to 1M in seven stages.
    pub EasycontextLlama2_1m {
        model: llama2_7b,
        context: 4K -> 1M,
        rope: theta(1e9),
        adapt: full,
        data: [text("books/*.txt")],
        train: [
            extend(steps = 90, length = 32K, batch = 32, theta = 1e6, lr = 2e-5, warmup = 0, documents = joined),
            extend(steps = 90, length = 64K, batch = 16, theta = 5e6, lr = 2e-5, warmup = 0, documents = joined),
            extend(steps = 90, length = 128K, batch = 8, theta = 7e6, lr = 2e-5, warmup = 0, documents = joined),
            extend(steps = 90, length = 256K, batch = 4, theta = 1e7, lr = 2e-5, warmup = 0, documents = joined),
            extend(steps = 90, length = 256K, batch = 4, theta = 5e7, lr = 2e-5, warmup = 0, documents = joined),
            extend(steps = 90, length = 512K, batch = 2, theta = 2e8, lr = 2e-5, warmup = 0, documents = joined),
            extend(steps = 90, length = 512K, batch = 2, lr = 2e-5, warmup = 0, documents = joined),
        ],
        eval: [perplexity(32K, 256K, 1M), passkey(32K, 256K, 1M)],
    }
}

fn main() -> context_recipe::Result<()> {
    context_recipe::main::<EasycontextLlama2_1m>()
}
