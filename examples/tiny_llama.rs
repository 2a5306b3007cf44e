//! A recipe for the tiny Llama of `tests/fixtures/tiny_hf`, small enough to try every command in seconds.

use context_recipe::recipe;

recipe! {
    /// Three layers, the middle one full, LoRA on every projection, a merge on the way.
    pub TinyLlama {
        model: hf("tests/fixtures/tiny_hf/config.json"),
        context: 64,
        attention: hybrid(full = 1, window = 8, sink = 2, block = 4),
        adapt: lora(rank = 4, alpha = 8, targets = [q, k, v, o, gate, up, down]),
        train: [
            extend(steps = 30, length = 64, batch = 4, lr = 1e-2, warmup = 4),
            merge(base = 10%),
            anneal(steps = 10, length = 64, batch = 4, lr = 1e-2),
        ],
        eval: [perplexity(64)],
        device: cpu(1GiB),
    }
}

fn main() -> context_recipe::Result<()> {
    context_recipe::main::<TinyLlama>()
}
