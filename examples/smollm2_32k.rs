//! SmolLM2-135M from 8K to 32K on a laptop: sequences of 30 % of the window with skipping sentences, adapters beside the
//! embedding and the norms, two thirds of the layers sparse.
//!
//! Our own. A step reads 9830 tokens; `cargo run --release --example smollm2_32k -- train --model DIR --data 'text/*.txt'
//! --out runs/smollm2_32k`.

use context_recipe::recipe;

recipe! {
    /// SmolLM2-135M, 8K to 32K, on a CPU with 16 GiB.
    pub Smollm2_32k {
        model: smollm2_135m,
        context: 8K -> 32K,
        rope: yarn(4),
        attention: hybrid(full = 1/3, window = 1024, sink = 4),
        positions: longrecipe(keep = 30%),
        adapt: lora(rank = 16, alpha = 32, train = [embed, norm]),
        data: [text("text/*.txt") * 90%, passkey * 10%],
        train: [extend(steps = 200, lr = 2e-4, warmup = 10, schedule = cosine)],
        eval: [perplexity(8K, 16K, 32K), passkey(8K, 16K, 32K)],
        device: cpu(16GiB),
    }
}

fn main() -> context_recipe::Result<()> {
    context_recipe::main::<Smollm2_32k>()
}
