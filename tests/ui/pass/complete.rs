//! The recipe of the README.

use context_recipe::recipe;

recipe! {
    /// Llama-2 7B, 4K to 128K, on one 80 GB GPU.
    pub Llama2_128k {
        model: llama2_7b,
        context: 4K -> 128K,
        rope: interpolate(32),
        attention: hybrid(full = 1/3, window = 4096, sink = 4),
        adapt: qlora(rank = 32, alpha = 16, train = [embed, norm]),
        data: [jsonl("corpus/*.jsonl") * 90%, passkey * 10%],
        train: [extend(steps = 1000, length = 128K, lr = 2e-5, warmup = 20)],
        eval: [perplexity(4K, 32K, 128K), passkey(4K, 32K, 128K)],
        device: cuda(80GB, deterministic = true),
    }
}

fn main() {}
