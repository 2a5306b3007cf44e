//! SmolLM2-135M as it was released: a recipe that changes nothing, to evaluate and compare with.

use context_recipe::recipe;

recipe! {
    /// SmolLM2-135M at its own 8K.
    pub Smollm2_8k {
        model: smollm2_135m,
        context: 8K,
        eval: [perplexity(2K, 8K), passkey(2K, 8K)],
        device: cpu(8GiB),
    }
}

fn main() -> context_recipe::Result<()> {
    context_recipe::main::<Smollm2_8k>()
}
