//! Gates for the tiny Llama of `tests/fixtures/tiny_hf`, learned in a second, to try every command on.

use context_recipe::recipe;

recipe! {
    /// Half of the heads stream, by gates of twelve steps.
    pub TinyGates {
        model: hf("tests/fixtures/tiny_hf/config.json"),
        context: 64,
        attention: duo(gates = learned, sparsity = 50%, sink = 2, recent = 8),
        train: [gates(steps = 12, length = 64, batch = 2, sink = 4, recent = 8, lr = 0.05)],
        eval: [perplexity(64)],
        device: cpu(1GiB),
    }
}

fn main() -> context_recipe::Result<()> {
    context_recipe::main::<TinyGates>()
}
