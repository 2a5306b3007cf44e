//! Six mistakes, six errors, one build.

use context_recipe::recipe;

recipe! {
    pub Case {
        model: llama2_7b,
        context: 4K -> 128K,
        rope: interpolate(16),
        attention: hybrid(full = 1/3, window = 5000, sink = 4),
        adapt: qlora(rank = 32, alpha = 16, targets = [q, v, gatee]),
        data: [jsonl("corpus/*.jsonl") * 90%, passkey * 20%],
        train: [extend(steps = 1000, length = 256K, lr = 2e-5)],
        eval: [perplexity(4K, 512K)],
    }
}

fn main() {}
