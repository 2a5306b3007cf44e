use context_recipe::recipe;

recipe! {
    /// The embedded base, 256 tokens to 1K.
    pub Longer {
        model: tiny,
        context: 256 -> 1K,
        rope: yarn(4),
        adapt: lora(rank = 8, alpha = 16, train = [embed, norm]),
        data: [passkey],
        train: [extend(steps = 60, length = 1K, lr = 1e-3, batch = 2, warmup = 6)],
        eval: [perplexity(256, 1K), passkey(256, 1K)],
        device: cpu(2GiB),
    }
}

fn main() -> context_recipe::Result<()> {
    context_recipe::main::<Longer>()
}
