//! The recipe of the guide in docs/: small enough to try every command in a minute, on the model in `assets/tiny`.

use context_recipe::recipe;

recipe! {
    /// The embedded base, 256 tokens to 1K, on any machine.
    pub Tiny1k {
        model: tiny,
        context: 256 -> 1K,
        rope: yarn(4),
        attention: hybrid(full = 1/3, window = 128, sink = 4),
        adapt: lora(rank = 8, alpha = 16, train = [embed, norm]),
        data: [passkey],
        train: [extend(steps = 30, length = 1K, lr = 1e-3, batch = 2, warmup = 3)],
        eval: [perplexity(256, 1K), passkey(256, 1K), needle(single, 256, 1K)],
        device: cpu(2GiB),
    }
}

fn main() -> context_recipe::Result<()> {
    context_recipe::main::<Tiny1k>()
}
